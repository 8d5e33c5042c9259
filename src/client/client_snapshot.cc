// S4 for an app: from memory under one lease, or from the hub. The edge reads the write-through keys of an EXEC at the
// hub, all of them twice when it writes none: versions that are the same both times were there together in between
// (edge/exec.cc). A key of another namespace would be answered from the edge's memory, of no one index: so policies are
// looked at before and after.
#include "client/client_impl.h"
#include "codec/typed_value.h"

namespace tidelock {

Result<void> ClientImpl::all_strong(std::span<const std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (key.empty() || key.size() > kKeyBytesMax) {
      return fail(Code::kInvalid, "a key has " + std::to_string(key.size()) + " bytes; it must have 1 to " +
                                      std::to_string(kKeyBytesMax));
    }
    auto policy = reader_.policy_of(key);
    if (!policy && reader_.maintain()) policy = reader_.policy_of(key);
    if (!policy) {
      return fail(Code::kUnavailable, "the page of the edge at " + options_.run_dir +
                                          " is not to be had, and only that says which keys are strong");
    }
    if (policy->consistency != Consistency::kStrong || policy->write_mode != WriteMode::kThrough) {
      return fail(Code::kInvalid, "key '" + std::string(key.substr(0, 128)) + "' is in namespace '" + policy->prefix +
                                      "', which is not strong; a snapshot is of strong keys");
    }
  }
  return {};
}

Result<void> ClientImpl::snapshot(std::span<const std::string_view> keys, ValueBatch& out) {
  if (keys.empty() || keys.size() > kSnapshotKeysMax) {
    return fail(Code::kInvalid,
                std::to_string(keys.size()) + " keys; 1 to " + std::to_string(kSnapshotKeysMax) + " are right");
  }
  thread_local std::vector<ReadOutcome> outcomes;
  const ReadOutcome group = reader_.snapshot(keys, out.values, outcomes);
  if (group.must_ask != MustAsk::kNo) {
    if (const auto strong = all_strong(keys); !strong) return strong;
    if (const auto asked = snapshot_at_edge(keys, out); !asked) return asked;
    return all_strong(keys);
  }
  out.receipt = group.receipt;
  out.found.assign(keys.size(), false);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    out.found[i] = outcomes[i].found;
    if (!outcomes[i].found) {
      out.values[i].clear();
    } else if (const auto taken = take_stored(keys[i], Want{out.values[i]}); !taken) {
      return taken;
    }
  }
  return {};
}

Result<void> ClientImpl::snapshot_at_edge(std::span<const std::string_view> keys, ValueBatch& out) {
  std::vector<std::vector<std::string>> commands = {{"MULTI"}};
  for (const std::string_view key : keys) commands.push_back({"GET", std::string(key)});
  commands.push_back({"EXEC"});
  edge_reads_.fetch_add(1, std::memory_order_relaxed);
  const ElapsedClock clock;  // only a difference is used
  const Nanos sent_at = clock.now();
  const auto replies = ask_all(commands);
  if (!replies) return fail(replies.error());
  const RespValue& all = replies->back();
  if (all.is_error()) return fail(error_of(all.text));
  if (all.type != RespType::kArray || all.elements.size() != keys.size())
    return fail(Code::kCorrupt, "the edge's answer to EXEC has not as many values as there were keys");
  out.values.resize(keys.size());
  out.found.assign(keys.size(), false);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const RespValue& value = all.elements[i];
    if (value.is_error()) {
      if (value.text.starts_with("WRONGTYPE ")) return other_kind(keys[i], true);
      return fail(error_of(value.text));
    }
    out.found[i] = !value.is_null();
    out.values[i] = value.text;
  }
  out.receipt = Receipt{};
  out.receipt.basis = Basis::kProof;
  out.receipt.source = Source::kHub;
  out.receipt.bound_ns = stretch(saturating_sub(clock.now(), sent_at), 1'000);  // read behind the question (F6)
  return {};
}

}  // namespace tidelock
