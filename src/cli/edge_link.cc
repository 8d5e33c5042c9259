#include "cli/edge_link.h"

#include <CLI/CLI.hpp>
#include <charconv>

#include "cli/config.h"

namespace tidelock {

void add_edge_place(CLI::App& command, EdgePlace& place) {
  auto* run_dir = command.add_option("--run-dir", place.run_dir,
                                     "run folder of an edge on this machine (run_dir in its edge.toml)");
  command.add_option("--socket", place.socket, "or its socket: a path, or host:port")->excludes(run_dir);
  command.add_option("--password-file", place.password_file, "file whose first line is the edge's requirepass");
}

Result<RespClient> connect_edge(const EdgePlace& place, int timeout_ms) {
  RespClientOptions options;
  options.address = place.address();
  options.connect_timeout_ns = timeout_ms * kMillisecond;
  options.protocol = 3;
  options.password = place.password;
  if (!place.password_file.empty()) {
    auto text = read_file(place.password_file);
    if (!text) return fail(Code::kInvalid, "--password-file " + text.error().message);
    options.password = text->substr(0, text->find_first_of("\r\n"));
    if (options.password.empty()) {
      return fail(Code::kInvalid, "--password-file " + place.password_file + ": its first line is empty");
    }
  }
  auto made = RespClient::connect(options);
  if (!made) {
    Error error = made.error();
    error.message = "no edge at " + options.address + ": " + error.message;
    return fail(std::move(error));
  }
  return made;
}

Error error_of_reply(const std::string& text) {
  struct Word {
    std::string_view word;
    Code code;
  };
  static constexpr Word kWords[] = {{"STALE", Code::kStale},
                                    {"BUSY", Code::kBusy},
                                    {"UNAVAILABLE", Code::kUnavailable},
                                    {"MAYBEAPPLIED", Code::kMaybeApplied},
                                    {"CONFLICT", Code::kConflict},
                                    {"NOPERM", Code::kDenied},
                                    {"NOAUTH", Code::kDenied},
                                    {"WRONGPASS", Code::kDenied}};
  Error error{Code::kInvalid, text, {}, 0};
  const std::string_view first = std::string_view(text).substr(0, text.find(' '));
  for (const Word& one : kWords) {
    if (first == one.word) error.code = one.code;
  }
  if (error.code == Code::kStale) {
    error.detail_ns = kForever;
    static constexpr std::string_view kField = "bound_us=";
    if (const std::size_t at = text.find(kField); at != std::string::npos) {
      std::int64_t us = -1;
      std::from_chars(text.data() + at + kField.size(), text.data() + text.size(), us);
      if (us >= 0 && us <= kForever / kMicrosecond) error.detail_ns = us * kMicrosecond;
    }
  }
  return error;
}

}  // namespace tidelock
