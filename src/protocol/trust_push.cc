#include "protocol/trust_push.h"

#include <set>

#include "codec/trust_state.h"

namespace tidelock {
namespace {

constexpr std::size_t kReleasesNamed = 4;  // of each kind: a line of the log has 300 bytes

using Releases = std::set<std::pair<std::string, std::string>>;

Releases releases_of(const Trust& trust) {
  Releases all;
  if (trust.snapshot() == nullptr) return all;
  for (const SnapshotEntry& entry : trust.snapshot()->targets) {
    const TrustTargetsFile* targets = trust.targets(entry.pattern);
    if (targets == nullptr) continue;
    for (const TrustRelease& release : targets->releases) all.emplace(release.name, release.version);
  }
  return all;
}

// Those of `list` that `other` has not.
std::string only_in(const Releases& list, const Releases& other, const std::string& words) {
  std::string text;
  std::size_t count = 0;
  for (const auto& release : list) {
    if (other.contains(release)) continue;
    if (++count <= kReleasesNamed)
      text += (count == 1 ? "; " + words + " " : ", ") + release.first + " " + release.second;
  }
  if (count > kReleasesNamed) text += " and " + std::to_string(count - kReleasesNamed) + " more";
  return text;
}

}  // namespace

Result<Put> plan_trust_push(const PushTrust& push, const TrustRead& read) {
  const bool catalogue = !push.timestamp.empty() || !push.snapshot.empty() || !push.targets.empty();
  if (push.roots.empty() && !catalogue) {
    return fail(Code::kInvalid, "trust push: it is empty; give roots, or timestamp, snapshot and targets, or both");
  }
  if (push.roots.size() > kTrustPushRootsMax) {
    return fail(Code::kInvalid, "trust push: " + std::to_string(push.roots.size()) + " roots; push at most " +
                                    std::to_string(kTrustPushRootsMax) + " at a time, in order");
  }
  const auto [held, version] = read(kTrustStateKey);
  Trust trust;
  if (held) {
    auto loaded = Trust::load(*held);
    if (!loaded) return fail(loaded.error());
    trust = std::move(*loaded);
  }
  Put put;
  for (const Bytes& root : push.roots) {
    const std::uint64_t before = trust.is_set() ? trust.root()->head.version : 0;
    if (trust.is_set()) {
      if (auto ok = trust.accept_root(root); !ok) return fail(ok.error());
    } else {
      auto first = Trust::anchor(root);
      if (!first) return fail(first.error());
      trust = std::move(*first);
    }
    if (trust.root()->head.version == before) continue;  // the one that is held: with the signatures it has
    put.writes.push_back(KeyWrite{trust_root_key(trust.root()->head.version), root, 0, false, Condition::kNone, {}});
  }
  if (catalogue) {
    if (auto ok = trust.accept_catalogue(push.timestamp, push.snapshot, push.targets); !ok) return fail(ok.error());
  }
  Bytes state = trust.save();
  if (state.size() > kTrustStateBytesMax) {
    return fail(Code::kInvalid, "trust push: root and catalogue take " + std::to_string(state.size()) +
                                    " bytes; at most " + std::to_string(kTrustStateBytesMax) +
                                    ": withdraw releases that nobody uses");
  }
  put.writes.push_back(KeyWrite{kTrustStateKey, std::move(state), 0, false, Condition::kVersionIs, version});
  if (const auto ok = check_write_extent(put.writes); !ok) return fail(ok.error());
  return put;
}

std::string describe_trust_push(BytesView before, BytesView after) {
  const auto loaded = [](BytesView state) {
    auto trust = state.empty() ? Result<Trust>(Trust()) : Trust::load(state);
    return trust ? std::move(*trust) : Trust();  // that it does not load says plan_trust_push
  };
  const Trust old = loaded(before), now = loaded(after);
  std::string text;
  const auto file = [&](const std::string& name, const auto* held, const auto* comes) {
    if (comes == nullptr ||
        (held != nullptr && held->head.version == comes->head.version && held->head.made_ms == comes->head.made_ms))
      return;
    text += (text.empty() ? "" : ", ") + name + " " + std::to_string(comes->head.version);
  };
  file("root", old.root(), now.root());
  file("timestamp", old.timestamp(), now.timestamp());
  file("snapshot", old.snapshot(), now.snapshot());
  if (now.snapshot() != nullptr) {
    for (const SnapshotEntry& entry : now.snapshot()->targets)
      file("targets " + entry.pattern, old.targets(entry.pattern), now.targets(entry.pattern));
  }
  text = text.empty() ? "pushed trust files that were held already" : "pushed trust files: " + text;
  if (old.snapshot() != nullptr && now.snapshot() == nullptr)
    return text + "; nothing new may be used until a catalogue is pushed";
  const Releases had = releases_of(old), has = releases_of(now);
  return text + only_in(has, had, "allows") + only_in(had, has, "no longer allows");
}

}  // namespace tidelock
