// The commands, each in a file of its own; add_NAME() puts one on the command line.
#pragma once

#include "cli/command_line.h"

namespace gannet::cli {

void add_send(CommandLine& line);
void add_listen(CommandLine& line);
void add_echo(CommandLine& line);
void add_print(CommandLine& line);
void add_explain(CommandLine& line);
void add_run(CommandLine& line);
void add_stat(CommandLine& line);
void add_hub(CommandLine& line);
void add_peers(CommandLine& line);

}  // namespace gannet::cli
