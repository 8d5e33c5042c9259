#include "edge/model_keeper.h"

#include <algorithm>
#include <chrono>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "edge/l2_store.h"
#include "protocol/trust_push.h"
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

bool passing(Code code) {
  return code == Code::kUnavailable || code == Code::kNotActive || code == Code::kMaybeApplied || code == Code::kBusy;
}

}  // namespace

// X3, M8: whether what could not be read may be all right. A `whole_file` that was not read to its end can not have
// been found wrong, so that even EIO (kCorrupt) says nothing of its bytes.
bool ModelKeeper::proves_nothing(Code code, bool whole_file) {
  return code == Code::kUnavailable || code == Code::kDenied || code == Code::kBusy ||
         (whole_file && code == Code::kCorrupt);
}

ModelKeeper::ModelKeeper(const EdgeConfig& config, Kv& kv, const Clock& clock, Metrics& metrics, Links links)
    : config_(config),
      kv_(kv),
      clock_(clock),
      links_(std::move(links)),
      marks_(config.data_dir + "/models/room"),
      figures_(clock, metrics),
      damaged_files_(metrics.counter("tidelock_edge_model_files_damaged_total",
                                     "Files of models that were found damaged on disk, and set aside (X3).")) {}

Result<std::unique_ptr<ModelKeeper>> ModelKeeper::open(const EdgeConfig& config, Kv& kv, const Clock& clock,
                                                       Metrics& metrics, Links links) {
  std::unique_ptr<ModelKeeper> keeper(new ModelKeeper(config, kv, clock, metrics, std::move(links)));
  auto room = ModelRoom::open(config.data_dir, config.models.quota_bytes);
  if (!room) return fail(room.error());
  keeper->room_ = std::move(*room);
  auto fetch = ModelFetch::open(config, kv, clock, metrics, keeper->room_->blobs(),
                                {.wake = [at = keeper.get()] { at->push(Run{[] {}}); },
                                 .doubt = [at = keeper.get()](Bytes sha256) { at->look_at_file(std::move(sha256)); }});
  if (!fetch) return fail(fetch.error());
  keeper->fetch_ = std::move(*fetch);
  auto key = kv.get(kMetaFamily, kModelKeyRow);
  if (!key) return fail(key.error());
  if (*key) keeper->model_key_ = std::move(**key);
  auto recalls = ModelRecalls::open(kv);
  if (!recalls) return fail(recalls.error());
  keeper->recalls_ = std::move(*recalls);
  auto trust = ModelTrust::open(kv, {config.models.trust_root, config.models.trust_root_sha256});
  if (!trust) return fail(trust.error());
  keeper->trust_ = std::move(*trust);
  keeper->rehash_ =
      std::make_unique<ModelRehash>(keeper->room_->blobs(), clock, metrics, config.models.rehash_bytes_per_s,
                                    [at = keeper.get()](Bytes sha256) { at->look_at_file(std::move(sha256)); });
  StoreCareOwner owner;
  owner.releases = [at = keeper.get()] {
    return at->on_thread<std::vector<StoredRelease>>([at] { return at->releases(); });
  };
  owner.mend = [at = keeper.get()](const std::vector<CheckedFile>& broken) { return at->mend(broken); };
  owner.collect = [at = keeper.get()](bool remove) {
    return at->on_thread<std::vector<Garbage>>([at, remove] { return at->collect(remove); });
  };
  if (const auto ok = keeper->open_imports(owner); !ok) return fail(ok.error());
  keeper->care_ = std::make_unique<StoreCare>(keeper->room_->blobs(), std::move(owner));
  return keeper;
}

ModelKeeper::~ModelKeeper() { stop(); }

void ModelKeeper::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (care_) care_->stop();
  if (rehash_) rehash_->stop();
  if (fetch_) fetch_->stop();
  if (!thread_.joinable()) return;
  thread_.join();
  fetch_->settle();
}

void ModelKeeper::start() {
  thread_ = std::thread([this] { run(); });
  rehash_->start();
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

void ModelKeeper::on_recalled(std::vector<StagedModel> versions) { push(RecallsCame{std::move(versions)}); }

void ModelKeeper::on_strong_changed(const std::string& key, std::optional<Bytes> value, Index version) {
  if (key.starts_with(kTrustPrefix)) return push(ReadFailed{kTrustStateKey, 0});
  auto which = parse_pointer_key(key);
  if (!which) return;
  if (!value) return push(ReadFailed{key, 0});  // deleted, or too large to travel with the record: look
  if (auto came = read_pointer_value(config_.id, std::move(*which), *value, version)) push(std::move(*came));
}

// ---- the thread

void ModelKeeper::run() {
  look_at_trust();
  for (const auto& [name, version] : recalls_->all()) {
    if (links_.recalled) links_.recalled(name, version);
  }
  verify_placed();
  show();
  for (;;) {
    Nanos due = kForever;
    if (describe_due_) due = std::min(due, describe_at_);
    if (!hub_.empty()) due = std::min(due, fetch_->due_at());
    for (const auto& [key, at] : reads_due_) due = std::min(due, at);
    for (const auto& [version, failure] : failures_) due = std::min(due, failure.retry_at);
    if (repair_due()) due = 0;
    if (doubts_due()) due = std::min(due, doubted_look_at_);
    due = std::min(due, trust_look_at_);
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
  if (clock_.now() >= trust_look_at_) look_at_trust();
  fetch_->tend(hub_);
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
  if (recalls_->has({name, version}) || imports_->busy({name, version})) return false;  // M7, M2
  return damaged_.contains({name, version}) || named({name, version});
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
  fetch_->on_session();
  describe_due_ = true;
  describe_at_ = 0;
  reads_due_[kTrustStateKey] = 0;
}

void ModelKeeper::take(PointerCame& came) {
  const std::string name = came.which.name;
  if (pointers_.take(std::move(came), clock_.now())) room_->unpin(name, "ahead");
}

void ModelKeeper::take(const ReadFailed& failed) {
  const Nanos at = failed.wait_ns == 0 ? 0 : saturating_add(clock_.now(), failed.wait_ns);
  Nanos& due = reads_due_.try_emplace(failed.key, at).first->second;
  due = std::min(due, at);
}

void ModelKeeper::take(RecallsCame& came) {  // M7
  const std::vector<VersionKey> fresh = recalls_->take(came.versions);
  std::set<std::string> models = std::exchange(unlisted_, {});
  for (const VersionKey& key : fresh) models.insert(key.first);
  for (const std::string& name : models) {  // apps first
    if (const auto listed = room_->list_recalled(name, recalls_->all()); !listed) {
      log(LogLevel::kError, "models", "list of recalls not written", {{"message", listed.error().message}});
      unlisted_.insert(name);  // again with the next session
    }
  }
  for (const VersionKey& key : fresh) {
    failures_.erase(key);
    damaged_.erase(key);
    imports_->drop(key);
    if (links_.recalled) links_.recalled(key.first, key.second);
    const bool was_verified = room_->verified().contains(key);
    room_->unmark(key);  // in doubt, it keeps files of others pinned
    if (!was_verified) continue;
    log(LogLevel::kWarn, "models", "version recalled", {{"model", key.first}, {"version", key.second}});
    links_.report(EdgeStagedModel{{key.first, key.second}, "it was recalled"});
  }
}

void ModelKeeper::read_pointer(const std::string& key) {
  reads_due_.erase(key);
  ++reads_open_;
  // The answer also puts the pointer where apps find it: in the arena.
  links_.read(key, [this, key](ReadDone done) {
    take_read(key, std::move(done));
    push(Run{[this] { --reads_open_; }});  // behind what came of it
  });
}

void ModelKeeper::take_read(const std::string& key, ReadDone done) {
  const auto which = parse_pointer_key(key);
  if (!which) return;
  if (done.code == Code::kOk && done.value) {
    if (auto taken = read_pointer_value(config_.id, *which, *done.value, done.receipt.version)) push(std::move(*taken));
  } else if (done.code == Code::kNotFound) {
    push(PointerCame{*which, std::nullopt, done.receipt.version});
  } else {
    push(ReadFailed{key, kReadAgain});
  }
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
  look_at_trust();
  const Trust::Standing standing = trust_->standing(wall_ms_now());
  log(LogLevel::kInfo, "models", "trust files taken",
      {{"standing", trust_standing_name(standing.what)}, {"message", standing.why}});
  failures_.clear();  // what was not allowed may be now
  if (standing.what != TrustStanding::kNoCatalogue) forget_what_is_not_allowed();
}

// X2: an expired catalogue may be an old one. What is in force stays, and whoever uses it is told.
void ModelKeeper::look_at_trust() {
  const std::uint64_t wall_ms = wall_ms_now();
  const Trust::Standing standing = trust_->standing(wall_ms);
  const bool expired = standing.what == TrustStanding::kExpired;
  Nanos wait = kPatience;  // the wall clock may be set meanwhile
  if (standing.what == TrustStanding::kFresh) {
    const std::uint64_t left_ms = standing.until_ms - std::min(wall_ms, standing.until_ms);
    wait = std::min<Nanos>(wait, static_cast<Nanos>(std::min<std::uint64_t>(left_ms, 60'000) + 1) * kMillisecond);
  }
  trust_look_at_ = standing.what == TrustStanding::kUnset ? kForever : saturating_add(clock_.now(), wait);
  if (const auto seen = trust_->check_fresh(wall_ms); !seen && seen.error().code != Code::kStale)
    log(LogLevel::kError, "models", "time not stored", {{"message", seen.error().message}});
  figures_.trust(trust_standing_name(standing.what));
  if (const auto shown = room_->flag_expired(expired ? standing.why : std::string()); !shown)
    log(LogLevel::kError, "models", "flag not written", {{"message", shown.error().message}});
  if (std::exchange(trust_expired_, expired) == expired) return;
  log(expired ? LogLevel::kError : LogLevel::kInfo, "models", expired ? "trust files expired" : "trust files are fresh",
      {{"message", standing.why}});
}

// A release that was withdrawn is loaded by nobody any more; its bytes go when no pointer names it (M8).
void ModelKeeper::forget_what_is_not_allowed() {
  std::vector<std::pair<VersionKey, Error>> gone;
  for (const auto& [key, verified] : room_->verified()) {
    const auto encoded = room_->signed_manifest(key);
    const Result<void> allowed =
        encoded ? trust_->check(key.first, key.second, *encoded) : Result<void>(fail(encoded.error()));
    if (!allowed) gone.emplace_back(key, allowed.error());
  }
  for (const auto& [key, why] : gone) {
    log(LogLevel::kWarn, "models", "version no longer allowed",
        {{"model", key.first}, {"version", key.second}, {"message", why.message}});
    room_->unmark(key);
    links_.report(EdgeStagedModel{{key.first, key.second}, why.message});
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
  for (const PlacedVersion& placed : room_->placed()) {
    if (stopping()) return;
    const VersionKey key{placed.name, placed.version};
    if (recalls_->has(key)) {  // M7: a run before this one may have ended before it said so
      (void)room_->list_recalled(placed.name, recalls_->all());
      room_->unmark(key);
      continue;
    }
    if (model_key_.empty()) return;  // no session ever: nothing to check against yet
    verify_one(key);
  }
  if (!stopping()) room_->looked_through();
}

// X3: again on load.
void ModelKeeper::verify_one(const VersionKey& key) {
  const auto& [name, version] = key;
  const auto encoded = room_->signed_manifest(key);
  if (!encoded && proves_nothing(encoded.error().code, true))
    return unverified(key, Error{Code::kUnavailable, encoded.error().message, {}, 0});
  // A root alone takes nothing back: what was verified before it stays until there is a catalogue.
  Result<void> allowed;
  if (encoded && trust_->standing(wall_ms_now()).what != TrustStanding::kNoCatalogue)
    allowed = trust_->check(name, version, *encoded);
  if (!allowed) {  // a newer catalogue may allow it: its bytes stay, as long as a pointer names it
    log(LogLevel::kWarn, "models", "placed version is not allowed",
        {{"model", name}, {"version", version}, {"message", allowed.error().message}});
    room_->unmark(key);
    return;
  }
  auto manifest = encoded ? room_->open_placed(key, *encoded, model_key_) : Result<Manifest>(fail(encoded.error()));
  if (manifest) {
    const auto whole = room_->check_files(*manifest, [this](std::uint64_t) { return !stopping(); });
    if (stopping()) return;
    if (!whole) return unverified(key, whole.error());
  }
  const Result<void> checked = manifest ? room_->check_outputs(key, *manifest) : Result<void>(fail(manifest.error()));
  if (!checked && manifest && proves_nothing(checked.error().code, false))  // the engine could not read it
    return unverified(key, checked.error());
  if (!checked) {
    log(LogLevel::kWarn, "models", "placed version no longer verifies, removed",
        {{"model", name}, {"version", version}, {"message", checked.error().message}});
    room_->remove(key);
    return;
  }
  if (room_->mark(key, {sha256(*encoded), std::move(*manifest)})) links_.report(EdgeStagedModel{{name, version}, {}});
}

void ModelKeeper::work() {
  std::set<VersionKey> named;
  for (const auto& [name, model] : pointers_.all()) {  // they go on while a file is fetched; none is ever removed
    for (const auto& [pointer, role] :
         {std::pair{&model.current, "current"}, std::pair{&model.ring, "ahead"}, std::pair{&model.staged, "staged"}}) {
      if (!pointer->value) continue;
      named.emplace(name, pointer->value->version);
      attempt(name, *pointer->value, role);
    }
    if (stopping()) return;
  }
  look_at_doubted();
  repair_damaged(named);
  std::erase_if(failures_, [&](const auto& failure) { return !named.contains(failure.first); });
  std::erase_if(manifests_, [&](const auto& manifest) { return !named.contains(manifest.first); });
  if (pointers_.all_known()) prune();
  end_mending();
}

void ModelKeeper::attempt(const std::string& name, ModelPointer pointer, const char* role) {
  const VersionKey key{name, pointer.version};
  if (recalls_->has(key)) {  // M7: whatever the pointer says until it has moved
    failures_.erase(key);    // of a transfer that the recall ended
    damaged_.erase(key);
    return;
  }
  if (room_->holds(key, pointer.manifest_sha256)) {
    room_->pin(name, role, room_->verified().at(key).manifest);
    damaged_.erase(key);
    imports_->drop(key);
    return;
  }
  if (const Bytes* imported = imports_->signed_manifest(key);  // M1: it came before the pointer that says otherwise
      imported != nullptr && !imports_->busy(key) && sha256(*imported) != pointer.manifest_sha256)
    imports_->drop(key);
  if (imports_->busy(key)) {  // M2: a stick brings it
    failures_[key].retry_at = saturating_add(clock_.now(), kReadAgain);
    return;
  }
  const auto failure = failures_.find(key);
  if (failure != failures_.end() && failure->second.of_repair && std::string_view(role) != "repair") {
    failures_.erase(failure);
  } else if (failure != failures_.end()) {
    if (clock_.now() < failure->second.retry_at) return;
    if (std::exchange(failure->second.paused, false)) {
      failure->second.cause.clear();
      links_.report(EdgeStagedModel{{name, pointer.version}, "the transfer goes on"});
    }
  }
  if (hub_.empty() && imports_->signed_manifest(key) == nullptr) return;  // the next session brings it
  if (const auto done = ensure(name, pointer, role); !done) {
    failed(key, done.error());
    return;
  }
  failures_.erase(key);
  manifests_.erase(key);
  damaged_.erase(key);
  imports_->drop(key);
  log(LogLevel::kInfo, "models", "version verified", {{"model", name}, {"version", pointer.version}, {"role", role}});
  links_.report(EdgeStagedModel{{name, pointer.version}, {}});
}

void ModelKeeper::failed(const VersionKey& key, const Error& error) {
  if (stopping()) return;
  if (error.code == Code::kDenied) {  // X2: withdrawn meanwhile
    damaged_.erase(key);
    if (room_->doubted().contains(key)) room_->unmark(key);
  }
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
  auto placed = room_->signed_manifest({name, pointer.version});
  if (placed && sha256(*placed) == pointer.manifest_sha256) return placed;
  Bytes& known = manifests_[{name, pointer.version}];
  if (sha256(known) == pointer.manifest_sha256) return known;
  if (const Bytes* imported = imports_->signed_manifest({name, pointer.version});
      imported != nullptr && sha256(*imported) == pointer.manifest_sha256)
    return known = *imported;
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
  room_->pin(name, role, *manifest);  // before the bytes come, so that nothing takes their room
  if (const auto room = make_room(name, *manifest); !room) return room;
  if (const auto read = reread({name, pointer.version}, *manifest); !read) return read;
  const std::uint64_t before = fetch_->fetched_bytes();
  fetch_->begin_version(name, pointer.version);
  Result<void> got;
  for (const ManifestFile& file : manifest->files) {
    if (!got || room_->blobs().has(file.sha256)) continue;
    const Nanos began = clock_.now();
    const std::uint64_t had = fetch_->fetched_bytes();
    const ModelPointers::Tracked* model = pointers_.of(name);
    const std::string in_force = model != nullptr && model->current.value ? model->current.value->version : "";
    got = fetch_->fetch(hub_, file, room_->bases(name, file, in_force), [&] { return go_on(name, pointer.version); });
    measure_link(fetch_->fetched_bytes() - had, clock_.now() - began);
    if (got) room_->hashed(file.sha256);
  }
  fetched_bytes_[{name, pointer.version}] += fetch_->fetched_bytes() - before;
  if (!got) return got;
  // X2: that may have taken hours, in which another catalogue, or another key, came.
  if (const auto ok = trust_->check(name, pointer.version, *encoded); !ok) return ok;
  if (const auto again = open_manifest(*encoded, model_key_); !again) return fail(again.error());
  if (const auto ok = room_->place(*encoded, *manifest); !ok) return ok;
  return room_->mark({name, pointer.version}, {pointer.manifest_sha256, std::move(*manifest)});
}

// M8: for the files that are not here yet, and a delta of the largest. The version before the one in force gives way
// when it must; the one in force does not, nor the last that was verified here.
Result<void> ModelKeeper::make_room(const std::string& name, const Manifest& manifest) {
  BlobStore& blobs = room_->blobs();
  if (blobs.quota_bytes() == 0) return {};
  std::uint64_t needed = 0, largest = 0;
  for (const ManifestFile& file : manifest.files) {
    if (blobs.has(file.sha256)) continue;
    needed += file.size_bytes;
    largest = std::max(largest, file.size_bytes);
  }
  needed += largest;
  const auto fits = [&] { return blobs.used_bytes() + needed <= blobs.quota_bytes() || blobs.make_room(needed); };
  if (needed == 0 || fits()) return {};
  if (drop_imports({name, manifest.version}) && fits()) return {};
  for (const VersionKey& gone : room_->drop_previous(pointers_)) {
    links_.report(EdgeStagedModel{{gone.first, gone.second}, "removed: models.quota_mib has no room for it"});
  }
  if (fits()) return {};
  const std::string what = name + " " + manifest.version;
  log(LogLevel::kError, "models", "flash quota full",
      {{"model", name}, {"version", manifest.version}, {"quota_bytes", blobs.quota_bytes()}, {"needed_bytes", needed}});
  return fail(Error{Code::kBusy,
                    "models.quota_mib = " + std::to_string(blobs.quota_bytes() >> 20) + ": " + what + " needs " +
                        std::to_string(needed) + " bytes beside the " + std::to_string(blobs.used_bytes()) +
                        " of versions in use, which are never deleted; raise it",
                    {},
                    kPatience});
}

// What a transfer really came with: pace and rate are in it.
void ModelKeeper::measure_link(std::uint64_t bytes, Nanos took) {
  if (bytes < kMeasuredBytes) return;
  const auto rate =
      static_cast<std::uint64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(std::max<Nanos>(1, took)));
  const std::uint64_t known = link_bytes_per_s();
  link_bytes_per_s_.store(known == 0 ? rate : (3 * known + rate) / 4, std::memory_order_relaxed);
}

void ModelKeeper::prune() {
  const auto removed = room_->prune(pointers_, recalls_->all());
  for (const VersionKey& gone : removed) {
    fetched_bytes_.erase(gone);
    damaged_.erase(gone);
    links_.report(EdgeStagedModel{{gone.first, gone.second}, "removed: no pointer names it any more"});
  }
  // What nobody will go on with: files of those versions that never became whole. A delta that is under way has no pin,
  // so none goes while there is something to go on with.
  if (!removed.empty() && failures_.empty()) (void)room_->blobs().make_room(0);
}

// A model that was published in the middle of a session: nobody has looked yet whether there is a ring (M5). Once it is
// known that there is none, the session tells when one comes.
void ModelKeeper::ask_for_ring(const std::string& name) {
  links_.read(model_ring_key(name), [this, name](ReadDone done) {
    if (done.code == Code::kNotFound) return push(Run{[this, name] { no_ring_.insert(name); }});
    push(ReadFailed{model_ring_key(name), done.code == Code::kOk ? 0 : kReadAgain});
  });
}

// ---- for others to see

void ModelKeeper::show() {
  for (const auto& [name, model] : pointers_.all()) {  // M6
    const ModelPointers::Pointer& counts = model.in_force();
    if (!model.current.known || !counts.value ||
        !room_->holds({name, counts.value->version}, counts.value->manifest_sha256))
      continue;
    if (model.ring.known || no_ring_.contains(name))
      marks_.note(name, *counts.value, counts.version);
    else if (ring_asked_.insert(name).second)
      ask_for_ring(name);
  }
  for (const ModelFigures::Adopted& one : figures_.show(pointers_, room_->verified(), damaged_, fetched_bytes_)) {
    if (!links_.in_force) continue;  // M11
    links_.in_force(one.activation, room_->folder(one.key), room_->verified().at(one.key).manifest);
  }
  std::map<Bytes, std::uint64_t> in_use;  // X3
  for (const auto& [key, verified] : room_->verified()) {
    for (const ManifestFile& file : verified.manifest.files) in_use[file.sha256] = file.size_bytes;
  }
  std::vector<RehashFile> files;
  files.reserve(in_use.size());
  for (const auto& [sha256, bytes] : in_use) files.push_back({sha256, bytes});
  rehash_->watch(std::move(files));
}

}  // namespace tidelock
