// `tidelock get` and `tidelock set`: one key, read with its receipt or written with its acknowledgement, at an edge of
// this machine or at the hubs.
//
// Threads: one. Blocking. Limits: those of keys and values (protocol/policy.h), tested before anything is sent.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "cli/common.h"
#include "cli/edge_link.h"
#include "wire/resp/value.h"

namespace tidelock {

// What an edge's answer to TL.GET says beside the value (edge/tl_reply.h).
struct EdgeReceipt {
  std::uint64_t version = 0;
  Nanos bound_ns = kForever;  // U, the wait for the answer included (F6)
  Nanos writers_ns = 0;       // kForever: a writer is away
  std::string basis, source;
  bool fallback = false;
  Nanos ttl_ns = kForever;  // kForever: it does not expire
  std::string message;
};
// kCorrupt: not an answer to TL.GET. `waited` is the time since the question was sent.
Result<EdgeReceipt> receipt_of(const RespValue& reply, Nanos waited);
// The lines below a value: version, at most how old, proven by what, from where.
std::string receipt_words(const EdgeReceipt& receipt, bool found);
Json receipt_json(const EdgeReceipt& receipt);

struct KeyAnswer {
  bool found = false;
  std::string value;
  bool hash = false;
  std::vector<std::pair<std::string, std::string>> fields;  // of a hash, in the order of the edge
  bool has_receipt = true;                                  // false: the edge gives none for a hash
  EdgeReceipt receipt;
};
// `options` is what follows the key in TL.GET.
Result<KeyAnswer> read_at_edge(RespClient& edge, const std::string& key, const std::vector<std::string>& options,
                               int timeout_ms);

// What an acknowledgement of that level is worth.
std::string ack_words(const std::string& level);

// Registers both. `common` and `exit_code` must outlive the parsing.
void add_get_and_set(CLI::App& app, const Common& common, int& exit_code);

}  // namespace tidelock
