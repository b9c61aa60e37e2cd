#include "cli/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <span>

#include "cli/values.h"

namespace gannet::cli {
namespace {

std::string or_did_you_mean(const std::string& meant, std::string_view otherwise) {
  return meant.empty() ? std::string(otherwise) : fmt::format("did you mean {}?", meant);
}

// The first long option typed that the command does not have. What follows it was likely meant for it, so that it is named before anything else.
std::optional<std::string> unknown_option(const CLI::App& app, std::span<char*> typed) {
  for (std::string argument : typed) {
    const std::string name = argument.substr(0, argument.find('='));
    if (name == "--") break;
    if (name.starts_with("--") && app.get_option_no_throw(name) == nullptr) return argument;
  }
  return std::nullopt;
}

std::string superfluous(const CLI::App& app, const std::string& typed) {
  if (!typed.starts_with('-') || typed == "-") return fmt::format("\"{}\" is one argument too many; put in quotes what belongs together", typed);
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  const std::string otherwise = app.get_name() == "run" ? "write -- before PROGRAM where it is the program's own" : "--help lists them";
  return fmt::format("there is no option {}; {}", typed, or_did_you_mean(nearest(typed.substr(0, typed.find('=')), names), otherwise));
}

std::string no_command(const CLI::App& root) {
  const auto rest = root.remaining();
  if (rest.empty()) return "say what to do: gannet --help lists the commands";
  if (rest.front().starts_with('-')) return fmt::format("{} stands before any command; gannet --help lists the commands", rest.front());
  std::vector<std::string> names;
  for (const CLI::App* each : root.get_subcommands([](const CLI::App*) { return true; })) names.push_back(each->get_name());
  return fmt::format("there is no command \"{}\"; {}", rest.front(), or_did_you_mean(nearest(rest.front(), names), "gannet --help lists them"));
}

std::string misused(const CLI::App& app, const CLI::ParseError& error) {
  std::string what = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) return superfluous(app, app.remaining().front());
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    return fmt::format("{} is missing; gannet {} --help shows how it is used", what.substr(0, what.find(" is required")), app.get_name());
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    if (!what.starts_with('-'))
      return fmt::format("too much was given for {}; gannet {} --help shows how it is used", what.substr(0, what.find(':')), app.get_name());
    return fmt::format("{} needs a value; gannet {} --help shows which", what.substr(0, what.find(':')), app.get_name());
  }
  return what;
}

// In the usage line arguments stand by their names alone: the parser would add how many texts they take.
class Formatter : public CLI::Formatter {
  std::string make_option_usage(const CLI::Option* option) const override {
    return option->get_required() ? option->get_name(true) : "[" + option->get_name(true) + "]";
  }
};

// What is wrong with the command line, when the parser (`error`) or one of our readers of values (`failure`) stopped at something.
Failure misunderstood(const CLI::App& root, std::span<char*> typed, const CLI::ParseError* error, const Failure* failure) {
  const auto parsed = root.get_subcommands();
  if (parsed.empty()) return {Status::usage, no_command(root)};
  const CLI::App& app = *parsed.front();
  const std::string name = app.get_name() + ": ";
  if (const auto unknown = unknown_option(app, typed)) return {Status::usage, name + superfluous(app, *unknown)};
  return {Status::usage, name + (failure != nullptr ? failure->sentence : misused(app, *error))};
}

}  // namespace

void Command::value(const std::string& flags, const std::string& type, const std::string& help, Take take, bool repeated) {
  const std::string flag = flags.substr(flags.rfind(',') + 1);
  const auto take_all = [flag, take = std::move(take)](const std::vector<std::string>& texts) {
    for (const std::string& text : texts) take(flag, text);
  };
  app_->add_option_function<std::vector<std::string>>(flags, take_all, help)
      ->type_name(type)
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(repeated ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::TakeLast)
      ->group(heading_);
}

void Command::text(const std::string& flags, const std::string& type, const std::string& help, std::string& into) {
  value(flags, type, help, [&into](std::string_view, std::string_view typed) { into = typed; });
}

void Command::flag(const std::string& flags, const std::string& help, bool& into) {
  flag(flags, help, [&into] { into = true; });
}

void Command::flag(const std::string& flags, const std::string& help, std::function<void()> then) {
  app_->add_flag_callback(flags, std::move(then), help)->group(heading_);
}

void Command::argument(const std::string& name, const std::string& help, Take take) {
  app_->add_option_function<std::string>(
          name, [name, take = std::move(take)](const std::string& typed) { take(name, typed); }, help)
      ->required()
      ->type_name("");
}

void Command::arguments(const std::string& names, const std::string& help, std::size_t least, std::size_t most, std::vector<std::string>& into) {
  app_->add_option(names, into, help)->expected(static_cast<int>(least), static_cast<int>(most))->required(least > 0)->type_name("");
}

void Command::examples(const std::string& text) { app_->footer(text); }

void Command::run(Run run, std::function<void()> check) {
  app_->callback([chosen = chosen_, run = std::move(run), check = std::move(check)] {
    if (check) check();
    *chosen = run;
  });
}

CommandLine::CommandLine(const std::string& overview, const std::string& examples, const std::string& version)
    : app_(std::make_unique<CLI::App>(overview, "gannet")) {
  app_->set_version_flag("--version", version, "say which version this is");
  app_->footer(examples);
  app_->require_subcommand(1);
  app_->formatter(std::make_shared<Formatter>());
  app_->get_formatter()->column_width(34);
}

CommandLine::~CommandLine() = default;

Command CommandLine::command(const std::string& name, const std::string& help) { return {*app_->add_subcommand(name, help), settings_, run_}; }

void CommandLine::parse(int argc, char** argv) {
  const std::span typed(argv + 1, static_cast<std::size_t>(std::max(argc - 1, 0)));
  // Known at once, so that a mistake which stands before it is told in JSON, too.
  settings_.json = std::ranges::find(typed, std::string_view("--json")) != typed.end();
  try {
    app_->parse(argc, argv);
  } catch (const CLI::Success& help) {  // --help, --version
    run_ = {};
    app_->exit(help);
  } catch (const CLI::ParseError& error) {
    throw misunderstood(*app_, typed, &error, nullptr);
  } catch (const Failure& failure) {
    throw misunderstood(*app_, typed, nullptr, &failure);
  }
}

}  // namespace gannet::cli
