#include "hub/model_care.h"

#include <set>
#include <utility>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "protocol/commands.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

// A published manifest, as the ledger holds it: its signature was checked when it came in.
StoredRelease release_of(std::string name, std::string version, BytesView encoded) {
  StoredRelease release{std::move(name), std::move(version), {}};
  const auto outer = decode<SignedManifest>(encoded, "signed manifest");
  auto manifest = outer ? decode<Manifest>(outer->manifest, "manifest") : Result<Manifest>(fail(outer.error()));
  if (manifest)
    release.files = std::move(manifest->files);
  else
    release.broken = manifest.error().message;
  return release;
}

}  // namespace

HubModelCare::HubModelCare(Parts parts)
    : parts_(std::move(parts)),
      care_(parts_.blobs, StoreCareOwner{[this] { return releases(); },
                                         [this](const std::vector<CheckedFile>& broken) { return mend(broken); },
                                         [this](bool remove) { return collect(remove); }, parts_.copies}) {}

AdminAnswer HubModelCare::answer(const StoreCall& call) {
  AdminAnswer answer;
  if (call.what == StoreCall::What::kLook) {
    answer.value = care_.json();
    return answer;
  }
  const StoreWork work = call.what == StoreCall::What::kVerify   ? StoreWork::kVerify
                         : call.what == StoreCall::What::kRepair ? StoreWork::kRepair
                                                                 : StoreWork::kCollect;
  if (const auto begun = care_.start(work, call.dry_run); !begun) {
    answer.code = begun.error().code;
    answer.message = begun.error().message;
  }
  return answer;
}

void HubModelCare::asked(const std::vector<Bytes>& sha256s) {
  const Nanos now = clock_.now();
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(asked_, [&](const auto& entry) { return saturating_sub(now, entry.second) > kPublishGrace; });
    for (const Bytes& sha256 : sha256s) {
      if (sha256.size() == kSha256Bytes && asked_.size() < kAskedMax) asked_[sha256] = now;
    }
  }
  // This hub may be started anew before it hears of the publish. Not under the lock, which `collect` takes under the
  // store's. Each once: a touch is a write to the disk.
  for (const Bytes& sha256 : std::set<Bytes>(sha256s.begin(), sha256s.end())) parts_.blobs.touch(sha256);
}

Result<std::vector<StoredRelease>> HubModelCare::releases() const {
  std::vector<StoredRelease> list;
  static constexpr std::string_view kRows = "vmodel:";  // state_machine.cc: 'v', and a key
  parts_.rows.visit(kRows, kRows, [&](std::string_view row, std::string_view value) {
    const std::string_view key = row.substr(kRows.size());
    const std::size_t colon = key.find(":v");
    if (colon == std::string_view::npos || !validate_model_name(key.substr(0, colon)) ||
        !validate_model_version(key.substr(colon + 2)))
      return true;
    const auto stored = decode<StoredValue>(value, "state row");
    if (stored && !stored->value) return true;
    list.push_back(release_of(std::string(key.substr(0, colon)), std::string(key.substr(colon + 2)),
                              stored ? BytesView(*stored->value) : BytesView()));
    return true;
  });
  return list;
}

std::vector<std::string> HubModelCare::mend(const std::vector<CheckedFile>& broken) {
  std::vector<std::string> why;
  why.reserve(broken.size());
  for (const CheckedFile& file : broken) {
    std::string& cause = why.emplace_back();
    if (file.sha256.empty()) {
      cause = "the ledger's row of it: stop this hub, empty its data_dir and let it join anew";
      continue;
    }
    const auto whole = parts_.blobs.verify(file.sha256);  // sets it aside
    if (whole) continue;
    if (whole.error().code == Code::kCorrupt)
      log(LogLevel::kError, "hub", "file damaged on disk", {{"message", whole.error().message}});
    if (whole.error().code != Code::kCorrupt && whole.error().code != Code::kNotFound) {
      cause = whole.error().message;
    } else if (!file.model.empty()) {
      if (const auto pulled = parts_.pull(file.sha256); !pulled) cause = pulled.error().message;
    }
  }
  return why;
}

Result<std::vector<Garbage>> HubModelCare::collect(bool remove) {
  if (parts_.caught_up) {
    if (const auto known = parts_.caught_up(); !known) return fail(known.error());
  }
  const auto list = releases();
  if (!list) return fail(list.error());
  std::set<Bytes> kept;
  for (const StoredRelease& release : *list) {
    if (!release.broken.empty()) {
      return fail(Code::kCorrupt,
                  release.name + " " + release.version + ": " + release.broken + "; which files it needs is not known");
    }
    for (const ManifestFile& file : release.files) kept.insert(file.sha256);
  }
  const auto wall = static_cast<std::int64_t>(wall_ms_now());
  return parts_.blobs.collect(
      [&](const Garbage& one) {
        if (kept.contains(one.sha256)) return true;
        const Nanos grace = one.kind == GarbageKind::kPartial ? kPartialGrace : kPublishGrace;
        if (wall - one.written_ms < grace / kMillisecond) return true;
        const std::lock_guard lock(mutex_);
        const auto it = asked_.find(one.sha256);
        return it != asked_.end() && saturating_sub(clock_.now(), it->second) <= kPublishGrace;
      },
      remove);
}

}  // namespace tidelock
