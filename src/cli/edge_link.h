// An operator's connection to an edge of this machine: its Redis protocol, over the Unix socket in its run folder.
//
// Threads: one. Blocking.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "wire/resp/client.h"

namespace CLI {
class App;
}

namespace tidelock {

struct EdgePlace {
  std::string run_dir;        // holds redis.sock
  std::string socket;         // path of a Unix socket, or host:port
  std::string password_file;  // its first line is the edge's requirepass; never on a command line, where others see it
  std::string password;       // or itself, out of a configuration

  bool given() const { return !run_dir.empty() || !socket.empty(); }
  std::string address() const { return socket.empty() ? "unix:" + run_dir + "/redis.sock" : socket; }
};

// --run-dir, --socket and --password-file; `place` must outlive the parsing.
void add_edge_place(CLI::App& command, EdgePlace& place);

// The message names the place, and what to look at when nobody is there.
Result<RespClient> connect_edge(const EdgePlace& place, int timeout_ms);

// "STALE bound_us=123 text": the error that a Redis error reply stands for; the message is the whole text.
Error error_of_reply(const std::string& text);

}  // namespace tidelock
