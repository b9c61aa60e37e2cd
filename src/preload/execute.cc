// libgannet-preload.so: the C library's calls that run another program, in this process or in a child.
//
// A socket that was used goes along with its descriptor. What was set on one that was not is known to this process alone: so the hub is told of it
// before the other program begins.
// Thread: any, a child of vfork(2) too.  Allocates: on the caller's stack.
#include <alloca.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "preload/by_number.h"
#include "preload/process.h"
#include "preload/real.h"

using namespace gannet::preload;

namespace {

// How many arguments execl(3) and its like were given, with the null that ends them.
std::size_t count_arguments(const char* first, va_list& list) {
  std::size_t count = 1;
  for (const char* each = first; each != nullptr; each = va_arg(list, char*)) ++count;
  return count;
}

char** take_arguments(const char* first, va_list& list, std::span<char*> into) {
  into[0] = const_cast<char*>(first);
  for (char*& each : into.subspan(1)) each = va_arg(list, char*);
  return into.data();
}

}  // namespace

extern "C" {

GANNET_INTERPOSED int execve(const char* path, char* const argv[], char* const environment[]) noexcept {
  about_to_execute();
  return real().execve(path, argv, environment);
}

GANNET_INTERPOSED int execv(const char* path, char* const argv[]) noexcept {
  about_to_execute();
  return real().execv(path, argv);
}

GANNET_INTERPOSED int execvp(const char* file, char* const argv[]) noexcept {
  about_to_execute();
  return real().execvp(file, argv);
}

GANNET_INTERPOSED int execvpe(const char* file, char* const argv[], char* const environment[]) noexcept {
  about_to_execute();
  return real().execvpe(file, argv, environment);
}

GANNET_INTERPOSED int fexecve(int fd, char* const argv[], char* const environment[]) noexcept {
  about_to_execute();
  return real().fexecve(fd, argv, environment);
}

GANNET_INTERPOSED int execl(const char* path, const char* first, ...) noexcept {
  va_list list;
  va_start(list, first);
  const std::size_t count = count_arguments(first, list);
  va_end(list);
  va_start(list, first);
  char** const argv = take_arguments(first, list, {static_cast<char**>(alloca(count * sizeof(char*))), count});
  va_end(list);
  return execv(path, argv);
}

GANNET_INTERPOSED int execlp(const char* file, const char* first, ...) noexcept {
  va_list list;
  va_start(list, first);
  const std::size_t count = count_arguments(first, list);
  va_end(list);
  va_start(list, first);
  char** const argv = take_arguments(first, list, {static_cast<char**>(alloca(count * sizeof(char*))), count});
  va_end(list);
  return execvp(file, argv);
}

GANNET_INTERPOSED int execle(const char* path, const char* first, ...) noexcept {
  va_list list;
  va_start(list, first);
  const std::size_t count = count_arguments(first, list);
  va_end(list);
  va_start(list, first);
  char** const argv = take_arguments(first, list, {static_cast<char**>(alloca(count * sizeof(char*))), count});
  char* const* environment = va_arg(list, char* const*);
  va_end(list);
  return execve(path, argv, environment);
}

GANNET_INTERPOSED int posix_spawn(pid_t* child, const char* path, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes,
                                  char* const argv[], char* const environment[]) {
  about_to_execute();
  return real().posix_spawn(child, path, actions, attributes, argv, environment);
}

GANNET_INTERPOSED int posix_spawnp(pid_t* child, const char* file, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes,
                                   char* const argv[], char* const environment[]) {
  about_to_execute();
  return real().posix_spawnp(child, file, actions, attributes, argv, environment);
}

GANNET_INTERPOSED int system(const char* command) {
  about_to_execute();
  return real().system(command);
}

GANNET_INTERPOSED FILE* popen(const char* command, const char* mode) {
  about_to_execute();
  return real().popen(command, mode);
}

}  // extern "C"
