// What COMMAND and ACL CAT tell of the table, shared by command_answers.cc and command_docs.cc.
//
// Threads: any; pure. Cost: O(what is told).
#pragma once

#include <string_view>

#include "wire/resp/command_access.h"

namespace tidelock {

// One command of COMMAND DOCS: its name, then the map.
void write_docs(const CommandLookup& command, RespReply& reply);

// "HELP" as every Redis command with subcommands answers it.
template <class Lines>
void write_help(const Lines& lines, RespReply& reply) {
  reply.array(std::size(lines) + 2);
  for (const std::string_view line : lines) reply.simple(line);
  reply.simple("HELP");
  reply.simple("    Prints this help.");
}

}  // namespace tidelock
