#include "edge/model_trust.h"

#include <utility>

#include "codec/trust.h"
#include "edge/l2_store.h"
#include "protocol/trust_push.h"

namespace tidelock {
namespace {

constexpr char kTrustRow[] = "model_trust";
constexpr char kPinRow[] = "model_trust_pin";
constexpr std::uint64_t kRootsMissedMax = 1'000;  // in one refresh; the next goes on from there

Bytes content_sha256(BytesView encoded) {
  const auto file = parse_trust(encoded);
  return file ? trust_content_sha256(*file) : Bytes();
}

}  // namespace

Result<ModelTrust> ModelTrust::open(Kv& kv, const TrustPin& pin) {
  Bytes pinned = pin.root_sha256;
  std::optional<Trust> anchor;
  if (!pin.root.empty()) {
    auto first = Trust::anchor(pin.root);
    if (!first) return fail(first.error().code, "trust.root: " + first.error().message);
    pinned = content_sha256(pin.root);
    anchor = std::move(*first);
  }
  const auto row = kv.get(kMetaFamily, kTrustRow);
  if (!row) return fail(row.error());
  const auto before = kv.get(kMetaFamily, kPinRow);
  if (!before) return fail(before.error());
  Trust trust;
  if (*row) {
    auto kept = Trust::load(**row);
    if (!kept) return fail(kept.error());
    trust = std::move(*kept);
  }
  bool known = row->has_value();
  if (pinned.empty() || (*before && **before == pinned)) return ModelTrust(kv, std::move(trust), known, pinned);
  if (!trust.is_set() || content_sha256(Trust::files_in(trust.save())->root) != pinned) {
    trust = anchor ? std::move(*anchor) : Trust();
    known = false;  // until a hub has told what follows
  }
  KvBatch batch;  // one with the other: a pin that counts while the former root is still there would be none
  batch.put(kMetaFamily, kPinRow, pinned);
  batch.put(kMetaFamily, kTrustRow, trust.save());
  if (auto stored = kv.commit(batch, Sync::kDisk); !stored) return fail(stored.error());
  return ModelTrust(kv, std::move(trust), known, pinned);
}

// The pinned one, if the ledger has it: the newest, or one of those before.
Result<Trust> ModelTrust::first_root(const Read& read, BytesView newest) const {
  auto first = Trust::anchor(newest);
  if (!first || pinned_sha256_.empty()) return first;
  if (content_sha256(newest) == pinned_sha256_) return first;
  const std::uint64_t version = first->root()->head.version;
  for (std::uint64_t back = 1; back < version && back < kRootsMissedMax; ++back) {
    const auto older = read(trust_root_key(version - back));
    if (!older) return fail(older.error());
    if (!*older) break;
    if (content_sha256(**older) == pinned_sha256_) return Trust::anchor(**older);
  }
  return fail(Code::kDenied, "root: none of those that the hubs hold is the pinned one, of content " +
                                 to_hex(pinned_sha256_).substr(0, 16) +
                                 "...; they hand on another publisher's files, or the pin of this gateway is wrong");
}

Trust::Standing ModelTrust::standing(std::uint64_t wall_ms) const {
  if (trust_.is_set() || pinned_sha256_.empty()) return trust_.standing(wall_ms);
  return {TrustStanding::kNoCatalogue, 0,
          "no hub has brought the pinned root, of content " + to_hex(pinned_sha256_).substr(0, 16) + "..., yet"};
}

Result<bool> ModelTrust::refresh(const Read& read) {
  const auto state = read(kTrustStateKey);
  if (!state) return fail(state.error());
  if (!*state) {
    known_ = true;
    return false;
  }
  const auto files = Trust::files_in(**state);
  if (!files) return fail(files.error());
  Trust next = trust_;
  if (!next.is_set()) {
    auto first = first_root(read, files->root);
    if (!first) return fail(first.error());
    next = std::move(*first);
  }
  // Every root since ours, each vouched for by the one before; the last of them is the one in force.
  Result<void> followed;
  std::string next_key;
  for (std::uint64_t missed = 0; followed && missed < kRootsMissedMax; ++missed) {
    next_key = trust_root_key(next.root()->head.version + 1);
    const auto root = read(next_key);
    if (!root) return fail(root.error());
    if (!*root) break;
    followed = next.accept_root(**root);
  }
  if (followed) {
    followed = next.accept_root(files->root);
    if (!followed)
      followed = fail(followed.error().code, followed.error().message + "; the ledger has no '" + next_key + "'");
  }
  const auto before = trust_.save();
  if (!followed) {
    if (const auto kept = keep(std::move(next)); !kept) return fail(kept.error());
    return fail(followed.error());
  }
  const Result<void> taken = files->timestamp.empty()
                                 ? Result<void>{}
                                 : next.accept_catalogue(files->timestamp, files->snapshot, files->targets);
  if (const auto kept = keep(std::move(next)); !kept) return fail(kept.error());
  if (!taken) return fail(taken.error());
  known_ = true;
  return trust_.save() != before;
}

// On disk first: a floor that a power cut takes away is none.
Result<void> ModelTrust::keep(Trust next) {
  Bytes row = next.save();
  if (row != trust_.save()) {
    KvBatch batch;
    batch.put(kMetaFamily, kTrustRow, std::move(row));
    if (auto stored = kv_->commit(batch, Sync::kDisk); !stored) return stored;
  }
  trust_ = std::move(next);
  return {};
}

Result<void> ModelTrust::check(std::string_view name, std::string_view version, BytesView encoded_manifest) const {
  if (!trust_.is_set() && pinned_sha256_.empty()) return {};
  if (!trust_.is_set()) return fail(Code::kDenied, "release " + std::string(name) + ": " + standing(0).why);
  const auto release = trust_.check_release(name, version, encoded_manifest);
  if (!release) return fail(release.error());
  return {};
}

Result<void> ModelTrust::check_fresh(std::uint64_t wall_ms) {
  const Trust::Standing now = standing(wall_ms);
  if (now.what == TrustStanding::kUnset || now.what == TrustStanding::kFresh) return {};
  // C4: that it was so late once outlives a restart and a clock set back.
  if (Trust next = trust_; next.saw_time(wall_ms)) {
    if (auto kept = keep(std::move(next)); !kept) return kept;
  }
  return fail(Code::kStale, now.why);
}

}  // namespace tidelock
