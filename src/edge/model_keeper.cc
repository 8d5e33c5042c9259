#include "edge/model_keeper.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "edge/l2_store.h"
#include "protocol/trust_push.h"
#include "store/models/files.h"
#include "store/models/release.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr int kCallTimeoutMs = 3'000;
constexpr Nanos kBackoffFirst = 100 * kMillisecond;
constexpr Nanos kBackoffMost = 5 * kSecond;
constexpr Nanos kPatience = 60 * kSecond;      // before what is wrong in itself is looked at again
constexpr Nanos kPauseReported = 5 * kSecond;  // a shorter one is over before anybody could read of it
constexpr Nanos kReadAgain = 500 * kMillisecond;
constexpr std::uint64_t kMeasuredBytes = 64u << 10;  // a smaller download says more about the delay than about the rate
constexpr char kModelKeyRow[] = "model_key";
constexpr std::string_view kStagedSuffix = ":staged@default";
constexpr std::string_view kCurrentSuffix = ":current@default";
constexpr std::string_view kRingSuffix = ":current@next";

bool passing(Code code) {
  return code == Code::kUnavailable || code == Code::kNotActive || code == Code::kMaybeApplied || code == Code::kBusy;
}

std::string json_string(std::string_view text) {
  return '"' + std::string(text) + '"';
}  // names and versions need no escapes

}  // namespace

std::optional<PointerKey> parse_pointer_key(std::string_view key) {
  if (!key.starts_with("model:")) return std::nullopt;
  key.remove_prefix(6);
  for (const std::string_view suffix : {kStagedSuffix, kCurrentSuffix, kRingSuffix}) {
    if (!key.ends_with(suffix)) continue;
    const std::string_view name = key.substr(0, key.size() - suffix.size());
    if (!validate_model_name(name)) return std::nullopt;
    return PointerKey{std::string(name), suffix == kStagedSuffix, suffix == kRingSuffix};
  }
  return std::nullopt;
}

ModelKeeper::ModelKeeper(const EdgeConfig& config, Kv& kv, const Clock& clock, Metrics& metrics, Links links)
    : config_(config), kv_(kv), clock_(clock), metrics_(metrics), links_(std::move(links)) {}

Result<std::unique_ptr<ModelKeeper>> ModelKeeper::open(const EdgeConfig& config, Kv& kv, const Clock& clock,
                                                       Metrics& metrics, Links links) {
  std::unique_ptr<ModelKeeper> keeper(new ModelKeeper(config, kv, clock, metrics, std::move(links)));
  auto blobs = BlobStore::open(config.data_dir + "/models/blobs");
  if (!blobs) return fail(blobs.error());
  keeper->blobs_ = std::move(*blobs);
  auto fetch = ModelFetch::open(config, kv, clock, metrics, *keeper->blobs_);
  if (!fetch) return fail(fetch.error());
  keeper->fetch_ = std::move(*fetch);
  auto layout = ModelLayout::open(config.data_dir + "/models/room");
  if (!layout) return fail(layout.error());
  keeper->layout_ = std::move(*layout);
  auto engine = open_engine();
  if (!engine) return fail(engine.error());
  keeper->engine_ = std::move(*engine);
  auto key = kv.get(kMetaFamily, kModelKeyRow);
  if (!key) return fail(key.error());
  if (*key) keeper->model_key_ = std::move(**key);
  auto trust = ModelTrust::open(kv);
  if (!trust) return fail(trust.error());
  keeper->trust_ = std::move(*trust);
  return keeper;
}

ModelKeeper::~ModelKeeper() {
  stop();
  metrics_.forget(metric::kModelVersionLag);
}

void ModelKeeper::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (!thread_.joinable()) return;
  thread_.join();
  fetch_->settle();
}

void ModelKeeper::start() {
  thread_ = std::thread([this] { run(); });
}

bool ModelKeeper::stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void ModelKeeper::push(Item item) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    queue_.push_back(std::move(item));
  }
  changed_.notify_one();
}

void ModelKeeper::on_session(NodeId hub, Bytes model_key) { push(SessionCame{std::move(hub), std::move(model_key)}); }

void ModelKeeper::on_strong_changed(const std::string& key, std::optional<Bytes> value, Index version) {
  if (key.starts_with(kTrustPrefix)) return push(ReadFailed{kTrustStateKey, 0});
  auto which = parse_pointer_key(key);
  if (!which) return;
  if (!value) return push(ReadFailed{key, 0});  // deleted, or too large to travel with the record: look
  if (auto came = pointer_came(std::move(*which), *value, version)) push(std::move(*came));
}

// M5: of the ring's pointer only this matters, whether this gateway has gone ahead.
std::optional<ModelKeeper::PointerCame> ModelKeeper::pointer_came(PointerKey which, BytesView value,
                                                                  Index version) const {
  if (!which.ring) {
    auto pointer = decode<ModelPointer>(value, "model pointer");
    if (!pointer) return std::nullopt;
    return PointerCame{std::move(which), std::move(*pointer), version};
  }
  auto ring = decode<RingPointer>(value, "ring pointer");
  if (!ring) return std::nullopt;
  PointerCame came{std::move(which), std::nullopt, version};
  if (ring->has(config_.id)) came.pointer = std::move(ring->pointer);
  return came;
}

// ---- the thread

void ModelKeeper::run() {
  verify_placed();
  show();
  for (;;) {
    Nanos due = kForever;
    if (describe_due_) due = std::min(due, describe_at_);
    for (const auto& [key, at] : reads_due_) due = std::min(due, at);
    for (const auto& [version, failure] : failures_) due = std::min(due, failure.retry_at);
    std::deque<Item> items;
    {
      std::unique_lock lock(mutex_);
      const auto ready = [this] { return stopping_ || !queue_.empty(); };
      if (due == kForever) {
        changed_.wait(lock, ready);
      } else {
        const Nanos wait = std::clamp<Nanos>(saturating_sub(due, clock_.now()), 0, kPatience);
        changed_.wait_for(lock, std::chrono::nanoseconds(wait), ready);
      }
      if (stopping_) return;
      items.swap(queue_);
    }
    take_queue(std::move(items));
    show();
    work();
    show();
  }
}

void ModelKeeper::take_queue(std::deque<Item> items) {
  for (Item& item : items) {
    std::visit([this](auto& what) { take(what); }, item);
  }
  if (describe_due_ && clock_.now() >= describe_at_) describe_models();
  std::vector<std::string> keys;
  for (const auto& [key, at] : reads_due_) {
    if (clock_.now() >= at) keys.push_back(key);
  }
  if (std::find(keys.begin(), keys.end(), kTrustStateKey) != keys.end()) refresh_trust();  // before it is asked
  for (const std::string& key : keys) {
    if (key != kTrustStateKey) read_pointer(key);
  }
}

// A transfer may take hours. Meanwhile the pointers go on, and one that names this version no longer ends it.
bool ModelKeeper::go_on(const std::string& name, const std::string& version) {
  std::deque<Item> items;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    items.swap(queue_);
  }
  take_queue(std::move(items));
  show();
  const Tracked& model = models_[name];
  return (model.staged.value && model.staged.value->version == version) ||
         (model.current.value && model.current.value->version == version);
}

void ModelKeeper::take(SessionCame& session) {
  hub_ = session.hub;
  if (model_key_ != session.model_key) {
    model_key_ = std::move(session.model_key);
    KvBatch batch;
    batch.put(kMetaFamily, kModelKeyRow, model_key_);
    if (const auto stored = kv_.commit(batch, Sync::kDisk); !stored) {
      log(LogLevel::kError, "models", "key not stored", {{"message", stored.error().message}});
    }
  }
  failures_.clear();
  describe_due_ = true;
  describe_at_ = 0;
  reads_due_[kTrustStateKey] = 0;
}

void ModelKeeper::take(PointerCame& came) {
  Tracked& model = models_[came.which.name];
  Pointer& pointer = came.which.staged ? model.staged : came.which.ring ? model.ring : model.current;
  if (pointer.known && came.version < pointer.version) return;  // S5: order is by index
  const bool counts = came.which.ring ? pointer.value || came.pointer : !came.which.staged;
  if (counts && came.version > pointer.version) model.current_since = clock_.now();
  if (came.which.ring && (pointer.value || !pointer.known) && !came.pointer)
    (void)blobs_->pin(came.which.name + ".ahead", {});
  pointer.known = true;
  pointer.value = std::move(came.pointer);
  pointer.version = came.version;
}

void ModelKeeper::take(const ReadFailed& failed) {
  const Nanos at = failed.wait_ns == 0 ? 0 : saturating_add(clock_.now(), failed.wait_ns);
  Nanos& due = reads_due_.try_emplace(failed.key, at).first->second;
  due = std::min(due, at);
}

void ModelKeeper::read_pointer(const std::string& key) {
  reads_due_.erase(key);
  // The answer also puts the pointer where apps find it: in the arena.
  links_.read(key, [this, key](ReadDone done) {
    const auto which = parse_pointer_key(key);
    if (!which) return;
    PointerCame came{*which, std::nullopt, done.receipt.version};
    if (done.code == Code::kOk && done.value) {
      auto taken = pointer_came(*which, *done.value, done.receipt.version);
      if (!taken) return;
      return push(std::move(*taken));
    }
    if (done.code == Code::kNotFound) return push(std::move(came));
    push(ReadFailed{key, kReadAgain});
  });
}

void ModelKeeper::refresh_trust() {  // X2
  reads_due_.erase(kTrustStateKey);
  if (hub_.empty()) return;  // the next session asks
  const auto changed = trust_->refresh([this](const std::string& key) -> Result<std::optional<Bytes>> {
    AdminRequest request;
    request.body = ReadKey{key};
    auto answer = ask(std::move(request));
    if (answer) return std::move(answer->value);
    if (answer.error().code == Code::kNotFound) return std::optional<Bytes>{};
    return fail(answer.error());
  });
  if (!changed) {
    const bool soon = passing(changed.error().code);
    log(soon ? LogLevel::kDebug : LogLevel::kWarn, "models", "trust files not taken",
        {{"code", code_name(changed.error().code)}, {"message", changed.error().message}});
    reads_due_[kTrustStateKey] = saturating_add(clock_.now(), soon ? kReadAgain : kPatience);
    return;
  }
  if (!*changed) return;
  const Trust::Standing standing = trust_->standing(wall_ms_now());
  log(LogLevel::kInfo, "models", "trust files taken",
      {{"standing", trust_standing_name(standing.what)}, {"message", standing.why}});
  failures_.clear();  // what was not allowed may be now
  if (standing.what != TrustStanding::kNoCatalogue) forget_what_is_not_allowed();
}

// A release that was withdrawn is loaded by nobody any more; its bytes go when no pointer names it (M8).
void ModelKeeper::forget_what_is_not_allowed() {
  for (auto it = verified_.begin(); it != verified_.end();) {
    const auto& [name, version] = it->first;
    const auto encoded = layout_->signed_manifest(name, version);
    const Result<void> allowed = encoded ? trust_->check(name, version, *encoded) : Result<void>(fail(encoded.error()));
    if (allowed) {
      ++it;
      continue;
    }
    log(LogLevel::kWarn, "models", "version no longer allowed",
        {{"model", name}, {"version", version}, {"message", allowed.error().message}});
    std::error_code ignored;
    std::filesystem::remove(layout_->folder(name, version) + "/" + kVerifiedMark, ignored);
    links_.report(EdgeStagedModel{{name, version}, allowed.error().message});
    it = verified_.erase(it);
  }
}

Result<AdminAnswer> ModelKeeper::ask(AdminRequest request) {
  auto hub = fetch_->client(hub_);
  if (!hub) return fail(hub.error());
  auto raw = (*hub)->call(encode(NodeCall{std::move(request)}), kCallTimeoutMs);
  if (!raw) return fail(raw.error());
  auto answer = decode<AdminAnswer>(*raw, "answer");
  if (!answer) return fail(answer.error());
  if (answer->code != Code::kOk) return fail(answer->code, answer->message);
  return answer;
}

void ModelKeeper::describe_models() {
  AdminRequest request;
  request.body = DescribeModels{};
  const auto answer = ask(std::move(request));
  if (!answer) {
    describe_at_ = saturating_add(clock_.now(), kSecond);
    log(LogLevel::kDebug, "models", "hub does not list its models", {{"message", answer.error().message}});
    return;
  }
  describe_due_ = false;
  for (const ModelView& model : answer->models) {
    if (!validate_model_name(model.name)) continue;
    read_pointer(model_staged_key(model.name));
    read_pointer(model_current_key(model.name));
    read_pointer(model_ring_key(model.name));
  }
}

void ModelKeeper::verify_placed() {
  for (const PlacedVersion& placed : layout_->list()) {
    if (stopping()) return;
    const std::string folder = layout_->folder(placed.name, placed.version);
    Result<void> allowed;
    const auto check = [&]() -> Result<Verified> {
      auto encoded = layout_->signed_manifest(placed.name, placed.version);
      if (!encoded) return fail(encoded.error());
      // X3: again on load. A root alone takes nothing back: what was verified before it stays until there is a
      // catalogue.
      if (trust_->standing(wall_ms_now()).what != TrustStanding::kNoCatalogue)
        allowed = trust_->check(placed.name, placed.version, *encoded);
      if (!allowed) return fail(allowed.error());
      auto manifest = open_manifest(*encoded, model_key_);  // M4: the signature before anything else
      if (!manifest) return fail(manifest.error());
      if (manifest->name != placed.name || manifest->version != placed.version) {
        return fail(Code::kCorrupt, folder + " holds the manifest of another version");
      }
      for (const ManifestFile& file : manifest->files) {
        if (const auto whole = blobs_->verify(file.sha256); !whole) return fail(whole.error());  // X3
      }
      if (const auto ok = verify(folder, *manifest); !ok) return fail(ok.error());
      return Verified{sha256(*encoded), std::move(*manifest)};
    };
    if (model_key_.empty()) return;  // no session ever: nothing to check against yet
    auto checked = check();
    if (!checked && !allowed) {  // a newer catalogue may allow it: its bytes stay, as long as a pointer names it
      log(LogLevel::kWarn, "models", "placed version is not allowed",
          {{"model", placed.name}, {"version", placed.version}, {"message", checked.error().message}});
      std::error_code ignored;
      std::filesystem::remove(folder + "/" + kVerifiedMark, ignored);
      continue;
    }
    if (!checked) {
      log(LogLevel::kWarn, "models", "placed version no longer verifies, removed",
          {{"model", placed.name}, {"version", placed.version}, {"message", checked.error().message}});
      (void)layout_->remove(placed.name, placed.version);
      continue;
    }
    if (const auto marked = files::replace(folder + "/" + kVerifiedMark, to_hex(checked->manifest_sha256) + "\n");
        !marked)
      continue;
    verified_[{placed.name, placed.version}] = std::move(*checked);
    links_.report(EdgeStagedModel{{placed.name, placed.version}, {}});
  }
}

void ModelKeeper::work() {
  bool all_known = true;
  std::set<VersionKey> named;
  for (const auto& [name, model] : models_) {
    all_known = all_known && model.staged.known && model.current.known && model.ring.known;
    for (const Pointer* pointer : {&model.current, &model.ring, &model.staged}) {
      if (!pointer->value) continue;
      named.emplace(name, pointer->value->version);
      attempt(name, *pointer->value,
              pointer == &model.staged ? "staged"
              : pointer == &model.ring ? "ahead"
                                       : "current");
    }
    if (stopping()) return;
  }
  std::erase_if(failures_, [&](const auto& failure) { return !named.contains(failure.first); });
  std::erase_if(manifests_, [&](const auto& manifest) { return !named.contains(manifest.first); });
  if (all_known) prune();
}

void ModelKeeper::attempt(const std::string& name, ModelPointer pointer, const char* role) {
  const VersionKey key{name, pointer.version};
  const auto held = verified_.find(key);
  if (held != verified_.end() && held->second.manifest_sha256 == pointer.manifest_sha256) {
    pin(name, role, held->second.manifest);
    return;
  }
  if (const auto failure = failures_.find(key); failure != failures_.end()) {
    if (clock_.now() < failure->second.retry_at) return;
    if (std::exchange(failure->second.paused, false)) {
      failure->second.cause.clear();
      links_.report(EdgeStagedModel{{name, pointer.version}, "the transfer goes on"});
    }
  }
  if (hub_.empty()) return;  // the next session brings it
  if (const auto done = ensure(name, pointer, role); !done) {
    failed(key, done.error());
    return;
  }
  failures_.erase(key);
  manifests_.erase(key);
  log(LogLevel::kInfo, "models", "version verified", {{"model", name}, {"version", pointer.version}, {"role", role}});
  links_.report(EdgeStagedModel{{name, pointer.version}, {}});
}

void ModelKeeper::failed(const VersionKey& key, const Error& error) {
  if (stopping()) return;
  Failure& failure = failures_[key];
  failure.paused = error.code == Code::kBusy && error.detail_ns >= kPauseReported;
  const bool soon = passing(error.code) && !failure.paused;
  failure.backoff_ns = soon ? std::clamp(failure.backoff_ns * 2, kBackoffFirst, kBackoffMost) : kPatience;
  failure.retry_at = saturating_add(clock_.now(), error.detail_ns > 0 ? error.detail_ns : failure.backoff_ns);
  if (failure.cause == error.message) return;
  failure.cause = error.message;
  log(LogLevel::kWarn, "models", failure.paused ? "transfer paused" : "version not staged",
      {{"model", key.first}, {"version", key.second}, {"code", code_name(error.code)}, {"message", failure.cause}});
  if (!soon) links_.report(EdgeStagedModel{{key.first, key.second}, failure.cause});
}

Result<Bytes> ModelKeeper::signed_manifest(const std::string& name, const ModelPointer& pointer) {
  auto placed = layout_->signed_manifest(name, pointer.version);
  if (placed && sha256(*placed) == pointer.manifest_sha256) return placed;
  Bytes& known = manifests_[{name, pointer.version}];
  if (sha256(known) == pointer.manifest_sha256) return known;
  AdminRequest request;
  request.body = ReadKey{model_version_key(name, pointer.version)};
  auto answer = ask(std::move(request));
  if (!answer) return fail(answer.error());
  if (!answer->value) return fail(Code::kNotFound, "the ledger has no manifest of " + name + " " + pointer.version);
  if (sha256(*answer->value) != pointer.manifest_sha256) {
    return fail(Code::kCorrupt,
                "the manifest of " + name + " " + pointer.version + " is not the one the pointer names");
  }
  return known = std::move(*answer->value);
}

Result<void> ModelKeeper::ensure(const std::string& name, const ModelPointer& pointer, const char* role) {
  const auto encoded = signed_manifest(name, pointer);
  if (!encoded) return fail(encoded.error());
  if (!trust_->known()) return fail(Code::kUnavailable, "this edge has not read the trust files of its hubs yet");
  if (const auto ok = trust_->check(name, pointer.version, *encoded); !ok) return ok;  // X2
  if (std::string_view(role) == "staged") {  // X2: what is in force stays so, what is new may be an old one (freeze)
    if (const auto ok = trust_->check_fresh(wall_ms_now()); !ok) return ok;
  }
  auto manifest = open_manifest(*encoded, model_key_);  // M4
  if (!manifest) return fail(manifest.error());
  if (manifest->name != name || manifest->version != pointer.version) {
    return fail(Code::kCorrupt, "the manifest under " + name + " " + pointer.version + " speaks of " + manifest->name +
                                    " " + manifest->version);
  }
  pin(name, role, *manifest);  // before the bytes come, so that nothing takes their room
  const std::uint64_t before = fetch_->fetched_bytes();
  Result<void> got;
  for (const ManifestFile& file : manifest->files) {
    if (!got || blobs_->has(file.sha256)) continue;
    const Nanos began = clock_.now();
    const std::uint64_t had = fetch_->fetched_bytes();
    got = fetch_->fetch(hub_, file, bases(name, file), [&] { return go_on(name, pointer.version); });
    measure_link(fetch_->fetched_bytes() - had, clock_.now() - began);
  }
  fetched_bytes_[{name, pointer.version}] += fetch_->fetched_bytes() - before;
  if (!got) return got;
  // X2: that may have taken hours, in which another catalogue, or another key, came.
  if (const auto ok = trust_->check(name, pointer.version, *encoded); !ok) return ok;
  if (const auto again = open_manifest(*encoded, model_key_); !again) return fail(again.error());
  const auto folder = layout_->place(*encoded, *manifest, *blobs_);
  if (!folder) return fail(folder.error());
  if (const auto ok = verify(*folder, *manifest); !ok) {
    std::error_code ignored;
    std::filesystem::remove(*folder + "/" + kVerifiedMark, ignored);
    return ok;
  }
  if (const auto marked = files::replace(*folder + "/" + kVerifiedMark, to_hex(pointer.manifest_sha256) + "\n");
      !marked)
    return marked;
  verified_[{name, pointer.version}] = Verified{pointer.manifest_sha256, std::move(*manifest)};
  return {};
}

// M3: what a file may be made out of: the files of that path in other versions of the model, the one in force first.
std::vector<Bytes> ModelKeeper::bases(const std::string& name, const ManifestFile& file) const {
  std::vector<Bytes> found;
  const auto model = models_.find(name);
  for (const auto& [version, verified] : verified_) {
    if (version.first != name) continue;
    const bool in_force =
        model != models_.end() && model->second.current.value && model->second.current.value->version == version.second;
    for (const ManifestFile& held : verified.manifest.files) {
      if (held.path != file.path || held.sha256 == file.sha256 || !blobs_->has(held.sha256)) continue;
      found.insert(in_force ? found.begin() : found.end(), held.sha256);
    }
  }
  return found;
}

// M4: the golden inputs in the real engine.
Result<void> ModelKeeper::verify(const std::string& folder, const Manifest& manifest) {
  auto model = engine_->load_file(folder + "/" + std::string(kModelFileName));
  if (!model) return fail(model.error());
  return verify_golden(manifest, **model, [&](const ManifestFile& file) { return read_release_file(folder, file); });
}

// What a transfer really came with: pace and rate are in it.
void ModelKeeper::measure_link(std::uint64_t bytes, Nanos took) {
  if (bytes < kMeasuredBytes) return;
  const auto rate =
      static_cast<std::uint64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(std::max<Nanos>(1, took)));
  const std::uint64_t known = link_bytes_per_s();
  link_bytes_per_s_.store(known == 0 ? rate : (3 * known + rate) / 4, std::memory_order_relaxed);
}

void ModelKeeper::pin(const std::string& name, const char* role, const Manifest& manifest) {  // M8
  std::vector<Bytes> files;
  files.reserve(manifest.files.size());
  for (const ManifestFile& file : manifest.files) files.push_back(file.sha256);
  if (const auto pinned = blobs_->pin(name + "." + role, files); !pinned) {
    log(LogLevel::kWarn, "models", "pin failed", {{"model", name}, {"message", pinned.error().message}});
  }
}

// M8: what no pointer names goes; the one in force, the one before it and the staged one stay.
void ModelKeeper::prune() {
  bool removed = false;
  for (const PlacedVersion& placed : layout_->list()) {
    const auto it = models_.find(placed.name);
    if (it == models_.end()) continue;
    const auto& current = it->second.current.value;
    const auto& staged = it->second.staged.value;
    if (!current) continue;
    if (!current->previous.empty() && placed.version == current->previous) {
      const auto previous = verified_.find({placed.name, placed.version});
      if (previous != verified_.end()) pin(placed.name, "previous", previous->second.manifest);
      continue;
    }
    if (placed.version == current->version || (staged && placed.version == staged->version)) continue;
    if (const auto& ahead = it->second.ring.value; ahead && placed.version == ahead->version) continue;
    // Until the version in force is verified here, the last one that was must stay (M6).
    if (!verified_.contains({placed.name, current->version})) continue;
    log(LogLevel::kInfo, "models", "version removed", {{"model", placed.name}, {"version", placed.version}});
    (void)layout_->remove(placed.name, placed.version);
    verified_.erase({placed.name, placed.version});
    fetched_bytes_.erase({placed.name, placed.version});
    links_.report(EdgeStagedModel{{placed.name, placed.version}, "removed: no pointer names it any more"});
    removed = true;
  }
  if (!removed) return;
  std::set<Bytes> kept;  // of versions that no pin names while the one in force is on its way (M6)
  for (const auto& [version, verified] : verified_) {
    for (const ManifestFile& file : verified.manifest.files) kept.insert(file.sha256);
  }
  for (const BlobInfo& blob : blobs_->list()) {
    if (!blob.pinned && !kept.contains(blob.sha256)) (void)blobs_->remove(blob.sha256);
  }
}

// ---- for others to see

void ModelKeeper::show() {
  std::map<std::string, Shown> shown;
  for (const auto& [name, model] : models_) {
    Shown& one = shown[name];
    const Pointer& counts = model.ring.value ? model.ring : model.current;  // M5
    if (counts.value) one.current = counts.value->version;
    if (model.staged.value) one.staged = model.staged.value->version;
    one.activation = counts.version;
    one.current_since = model.current_since;
    const auto fetched = [&](const std::string& version) {
      const auto it = fetched_bytes_.find({name, version});
      return it == fetched_bytes_.end() ? 0 : it->second;
    };
    one.current_fetched = fetched(one.current);
    one.staged_fetched = fetched(one.staged);
    const auto held = verified_.find({name, one.current});
    one.current_verified =
        counts.value && held != verified_.end() && held->second.manifest_sha256 == counts.value->manifest_sha256;
  }
  for (const auto& [version, verified] : verified_) shown[version.first].verified.push_back(version.second);
  std::vector<std::string> fresh;
  std::vector<std::pair<std::string, std::string>> adopted;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, one] : shown) {
      if (gauges_.insert(name).second) fresh.push_back(name);
      const auto before = shown_.find(name);
      const bool same =
          before != shown_.end() && before->second.current_verified && before->second.activation == one.activation;
      if (one.current_verified && !same) adopted.emplace_back(name, one.current);
    }
    shown_ = std::move(shown);
  }
  for (const std::string& name : fresh) {
    metrics_.gauge_from(metric::kModelVersionLag, "Since when the activated version is not the verified one here.",
                        {{"model", name}}, [this, name] {
                          const std::lock_guard lock(mutex_);
                          const auto it = shown_.find(name);
                          if (it == shown_.end() || it->second.current.empty() || it->second.current_verified)
                            return 0.0;
                          return static_cast<double>(clock_.now() - it->second.current_since) /
                                 static_cast<double>(kSecond);
                        });
  }
  for (const auto& [name, version] : adopted) {
    metrics_
        .gauge(metric::kModelVersionTimestamp, "When the version came into force here, verified.",
               {{"model", name}, {"version", version}})
        .set(static_cast<double>(wall_ms_now()) / 1000.0);
    if (links_.in_force) {  // M11
      links_.in_force(shown_.at(name).activation, layout_->folder(name, version),
                      verified_.at({name, version}).manifest);
    }
  }
}

std::vector<ModelHealth> ModelKeeper::figures() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelHealth> list;
  const auto add = [&](const std::string& name, const std::string& version, bool in_force, std::uint64_t fetched) {
    ModelHealth& health = list.emplace_back();
    health.name = name;
    health.version = version;
    health.in_force = in_force;
    health.fetched_bytes = fetched;
  };
  for (const auto& [name, one] : shown_) {
    if (!one.current.empty()) add(name, one.current, one.current_verified, one.current_fetched);
    if (!one.staged.empty() && one.staged != one.current) add(name, one.staged, false, one.staged_fetched);
    if (list.size() >= 60) break;  // of a report
  }
  return list;
}

std::string ModelKeeper::json() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, one] : shown_) {
    out += out.empty() ? "{" : ",";
    out += json_string(name) + ":{\"current\":" + json_string(one.current) + ",\"staged\":" + json_string(one.staged) +
           ",\"verified\":[";
    for (std::size_t i = 0; i < one.verified.size(); ++i) out += (i == 0 ? "" : ",") + json_string(one.verified[i]);
    out += "]}";
  }
  return out.empty() ? "{}" : out + "}";
}

}  // namespace tidelock
