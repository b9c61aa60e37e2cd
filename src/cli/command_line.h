// The command line: what can be typed, what was typed, and a sentence for what cannot be.
//
// Hides the parser (CLI11), which is large, from all other files. Thread: the command's.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/failure.h"
#include "cli/settings.h"

namespace CLI {
class App;
}

namespace gannet::cli {

class Report;

// One command's flags and arguments, in the order in which its help shows them.
class Command {
 public:
  // Reads what was typed for a flag; throws Failure when it is not what the flag takes.
  using Take = std::function<void(std::string_view flag, std::string_view text)>;
  using Run = std::function<Status(Report& report)>;

  Command(CLI::App& app, Settings& settings, Run& chosen) : app_(&app), settings_(&settings), chosen_(&chosen) {}

  // Flags are written "-T,--tos"; the text goes to `take` under the last of them. A repeated one is taken once for each time.
  void value(const std::string& flags, const std::string& type, const std::string& help, Take take, bool repeated = false);
  void text(const std::string& flags, const std::string& type, const std::string& help, std::string& into);
  void flag(const std::string& flags, const std::string& help, bool& into);
  void flag(const std::string& flags, const std::string& help, std::function<void()> then);
  void argument(const std::string& name, const std::string& help, Take take);
  void arguments(const std::string& names, const std::string& help, std::size_t least, std::size_t most, std::vector<std::string>& into);
  // The heading of what is added next. Empty: it works, yet the help does not show it.
  void heading(const std::string& text) { heading_ = text; }
  void examples(const std::string& text);
  // When all is read, `check` may refuse the whole; then it is `run` that is run.
  void run(Run run, std::function<void()> check = {});

  // What the flags that several commands share are read into.
  [[nodiscard]] Settings& settings() const { return *settings_; }

 private:
  CLI::App* app_;
  Settings* settings_;
  Run* chosen_;
  std::string heading_ = "Options";
};

class CommandLine {
 public:
  CommandLine(const std::string& overview, const std::string& examples, const std::string& version);
  ~CommandLine();

  Command command(const std::string& name, const std::string& help);

  // Status::ok and a run() to follow; or, when help was asked for, no run(). Failure (Status::usage) says what is wrong.
  void parse(int argc, char** argv);
  [[nodiscard]] const Command::Run& chosen() const { return run_; }
  [[nodiscard]] const Settings& settings() const { return settings_; }

 private:
  std::unique_ptr<CLI::App> app_;
  Settings settings_;
  Command::Run run_;
};

}  // namespace gannet::cli
