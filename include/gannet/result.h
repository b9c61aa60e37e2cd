// How a call says that it failed: an errno value and one sentence (what happened, why, what to do).
//
// A failed call is a value, never an exception, inside Gannet. A program that would rather have exceptions calls value().
// Thread: any; these are plain values.  Allocates: never.
#pragma once
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace gannet {

struct [[nodiscard]] Error {
  int code = EINVAL;          // an errno value: EAGAIN, EADDRINUSE, EMSGSIZE, ...
  const char* why = nullptr;  // a sentence with static lifetime, or none where the errno says it all

  [[nodiscard]] std::string message() const { return why != nullptr ? std::string(why) : std::generic_category().message(code); }
  friend bool operator==(const Error& a, const Error& b) { return a.code == b.code; }
};

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : ok_(true) { ::new (static_cast<void*>(&value_)) T(std::move(value)); }
  Result(Error error) : ok_(false), error_(error) {}
  Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>) : ok_(other.ok_) {
    if (ok_) {
      ::new (static_cast<void*>(&value_)) T(std::move(other.value_));
    } else {
      error_ = other.error_;
    }
  }
  Result(const Result& other) requires std::is_copy_constructible_v<T>
      : ok_(other.ok_) {
    if (ok_) {
      ::new (static_cast<void*>(&value_)) T(other.value_);
    } else {
      error_ = other.error_;
    }
  }
  Result& operator=(Result other) noexcept(std::is_nothrow_move_constructible_v<T>) {
    this->~Result();
    ::new (this) Result(std::move(other));
    return *this;
  }
  ~Result() {
    if (ok_) value_.~T();
  }

  [[nodiscard]] bool has_value() const { return ok_; }
  explicit operator bool() const { return ok_; }
  T& operator*() & { return value_; }
  const T& operator*() const& { return value_; }
  T&& operator*() && { return std::move(value_); }
  T* operator->() { return &value_; }
  const T* operator->() const { return &value_; }
  [[nodiscard]] Error error() const { return ok_ ? Error{0, nullptr} : error_; }

  // The value, or std::system_error with the errno and the sentence.
  T& value() & { return require(), value_; }
  const T& value() const& { return require(), value_; }
  T&& value() && { return require(), std::move(value_); }

 private:
  void require() const {
    if (!ok_) throw std::system_error(error_.code, std::generic_category(), error_.why != nullptr ? error_.why : "");
  }
  bool ok_;
  union {
    T value_;
    Error error_;
  };
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : why_(error.why), code_(error.code), ok_(false) {}
  [[nodiscard]] bool has_value() const { return ok_; }
  explicit operator bool() const { return ok_; }
  [[nodiscard]] Error error() const { return {code_, why_}; }
  void value() const {
    if (!ok_) throw std::system_error(code_, std::generic_category(), why_ != nullptr ? why_ : "");
  }

 private:
  // An Error in pieces: with ok_ beside the code it is two words, which a call returns in registers.
  const char* why_ = nullptr;
  int code_ = 0;
  bool ok_ = true;
};

}  // namespace gannet
