// The flags that several commands share.
#pragma once
#include <string>

#include "cli/command_line.h"

namespace gannet::cli {

void add_fault_flags(Command& command, const std::string& heading);
void add_link_flags(Command& command);     // --via, --capture, --print, the faults
void add_send_flags(Command& command);     // -b -T -M -i
void add_receive_flags(Command& command);  // --join, -I
void add_report_flags(Command& command);   // -v --json, and -4 -6 -u of nc
void add_dtls_flags(Command& command);     // --dtls, and with what
void add_timeout_flag(Command& command, const std::string& help);
void add_count_flag(Command& command, const std::string& help);

}  // namespace gannet::cli
