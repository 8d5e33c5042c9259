#include "hub/model_store.h"

#include <sys/random.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "base/elapsed_clock.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "hub/blob_fetch.h"
#include "hub/hub.h"
#include "protocol/admin.h"

namespace tidelock {
namespace {

constexpr std::size_t kChunkBytes = 1u << 20;
constexpr int kPeerTimeoutMs = 2'000;
constexpr int kIdleTimeoutMs = 10'000;
constexpr Nanos kCatchUp = 5 * kSecond;
constexpr int kPublishTimeoutMs = 5'000;
constexpr std::size_t kFetchBasesMax = 8;

Result<void> check_digest(BytesView sha256) {
  if (sha256.size() != kSha256Bytes) {
    return fail(Code::kInvalid, "sha256 has " + std::to_string(sha256.size()) + " bytes, must have 32");
  }
  return {};
}

Error replaced(BytesView sha256) {
  return {Code::kUnavailable, "blob " + to_hex(sha256) + " was being replaced; repeat", {}, 0};
}

Error no_base(const Error& why) {
  return {Code::kNotFound, "no delta can be made, for want of the file to start from: " + why.message, {}, 0};
}

class Upload : public UploadConsumer {
 public:
  Upload(std::unique_ptr<BlobStore::Writer> writer) : writer_(std::move(writer)), skip_(writer_->offset()) {}
  Result<void> chunk(Bytes bytes) override {
    if (skip_ >= bytes.size()) {  // here already, from a transfer that broke off
      skip_ -= bytes.size();
      return {};
    }
    const BytesView rest = BytesView(bytes).substr(skip_);
    skip_ = 0;
    return writer_->write(rest);
  }
  void finish(Reply reply) override {
    if (const auto done = writer_->commit(); !done) {
      reply(fail(done.error()));
      return;
    }
    reply(encode(AdminAnswer{}));
  }

 private:
  std::unique_ptr<BlobStore::Writer> writer_;
  std::uint64_t skip_;
};

}  // namespace

HubModelStore::~HubModelStore() = default;

Result<std::unique_ptr<HubModelStore>> HubModelStore::open(const std::string& directory, const HubConfig& config) {
  std::unique_ptr<HubModelStore> store(new HubModelStore(config.tls));
  const ModelOriginSettings& below = config.models;
  auto blobs = BlobStore::open(directory, {below.used ? below.quota_bytes : 0});  // originals have no quota
  if (!blobs) return fail(blobs.error());
  store->blobs_ = std::move(*blobs);
  if (below.used) {
    auto origin = ModelOrigin::open(below, *store->blobs_);
    if (!origin) return fail(origin.error());
    store->origin_ = std::move(*origin);
    store->watch_every_ = below.watch_every;
  }
  auto deltas = DeltaStore::open(directory + "/deltas");
  if (!deltas) return fail(deltas.error());
  store->deltas_ = std::move(*deltas);
  return store;
}

void HubModelStore::look_after(LedgerView ledger) {
  ledger_.emplace(std::move(ledger));
  care_ = std::make_unique<HubModelCare>(HubModelCare::Parts{*blobs_, ledger_->rows,
                                                             [this](BytesView sha256) { return pull(sha256); },
                                                             [this] { return caught_up(); }, origin_ != nullptr});
}

// What is committed is in the log of a majority, so one of any majority has it: this hub waits until it has applied the
// longest log of those that answer.
Result<void> HubModelStore::caught_up() {
  Index end = ledger_->status().last_index;
  std::size_t answering = 1;
  const Bytes call = encode(NodeCall{HasBlobs{}});
  const Peers others = peers();
  for (const auto& peer : others) {
    const auto raw = peer->client ? peer->client->call(call, kPeerTimeoutMs) : Result<Bytes>(fail(Code::kInvalid, ""));
    const auto answer = raw ? decode<AdminAnswer>(*raw, "answer") : Result<AdminAnswer>(fail(raw.error()));
    if (!answer || answer->index == Index{}) continue;  // a hub of an earlier build says nothing of its log
    ++answering;
    end = std::max(end, answer->index);
  }
  const std::size_t majority = (others.size() + 1) / 2 + 1;
  if (answering < majority) {
    return fail(Code::kUnavailable, "only " + std::to_string(answering) + " of " + std::to_string(others.size() + 1) +
                                        " hubs say what was published; " + std::to_string(majority) +
                                        " are needed before anything is removed here");
  }
  const ElapsedClock clock;
  const Nanos began = clock.now();
  while (ledger_->status().commit_index < end) {
    if (stopping_ || saturating_sub(clock.now(), began) > kCatchUp)
      return fail(Code::kUnavailable, "this hub has not caught up with the ledger yet; repeat in a while");
    std::unique_lock lock(mutex_);
    pulled_.wait_for(lock, std::chrono::milliseconds(20), [this] { return stopping_.load(); });
  }
  return ledger_->settle();
}

AdminAnswer HubModelStore::care(const PeerIdentity& peer, const StoreCall& call) {
  AdminAnswer refused;
  refused.code = peer.role != NodeRole::kClient ? Code::kDenied : Code::kUnavailable;
  refused.message = "only an operator's certificate (role client) may look after a hub's models";
  if (peer.role != NodeRole::kClient) return refused;
  refused.message = "this hub is starting; repeat in a moment";
  return care_ ? care_->answer(call) : refused;
}

void HubModelStore::stop() {
  stopping_ = true;
  if (origin_) origin_->stop();
  if (care_) care_->stop();
  deltas_->stop();
  slow_.stop();
  watch_.reset();
}

void HubModelStore::watch(std::function<bool()> active, std::function<Bytes()> model_key,
                          std::function<void(AdminRequest, Reply)> ask) {
  if (!origin_ || watch_every_ == 0) return;
  std::uint64_t seed = 1, boot = 1;
  (void)getrandom(&seed, sizeof seed, GRND_NONBLOCK);
  (void)getrandom(&boot, sizeof boot, GRND_NONBLOCK);
  ModelWatchHub hub;
  hub.active = std::move(active);
  hub.model_key = std::move(model_key);
  hub.bring = [this](const ManifestFile& file) { return bring(file); };
  hub.publish = [this, ask = std::move(ask), boot, sequence = std::uint64_t{0}](const Manifest& manifest,
                                                                                const Bytes& signed_manifest) mutable {
    // M2: a copy in the folder of some hub is not enough.
    if (const auto rests = origin_->resting(manifest.files); !rests) return rests;
    const auto answered = std::make_shared<std::promise<Result<Bytes>>>();
    auto answer = answered->get_future();
    ask(AdminRequest{CommandId{boot, ++sequence}, PublishModel{manifest.name, manifest.version, signed_manifest}},
        [answered](Result<Bytes> raw) { answered->set_value(std::move(raw)); });
    if (answer.wait_for(std::chrono::milliseconds(kPublishTimeoutMs)) != std::future_status::ready)
      return Result<void>(fail(Code::kMaybeApplied, "the ledger gave no answer"));  // asked again by the next look
    const auto raw = answer.get();
    const auto said = raw ? decode<AdminAnswer>(*raw, "answer") : Result<AdminAnswer>(fail(raw.error()));
    if (!said) return Result<void>(fail(said.error()));
    return said->code == Code::kOk ? Result<void>() : Result<void>(fail(said->code, said->message));
  };
  watch_ = std::make_unique<ModelWatch>(ModelWatchOptions{origin_->inbox(), watch_every_, seed}, origin_->store(),
                                        std::move(hub));
}

// Here, with the length that the manifest says; pulled otherwise, and then hashed.
Result<void> HubModelStore::bring(const ManifestFile& file) {
  if (!blobs_->has(file.sha256)) {
    if (const auto pulled = pull(file.sha256); !pulled) return pulled;
  }
  const auto size = blobs_->size_bytes(file.sha256);
  if (!size) return fail(size.error());
  if (*size == file.size_bytes) return {};
  return fail(Code::kCorrupt, file.path + " has " + std::to_string(*size) + " bytes, the manifest says " +
                                  std::to_string(file.size_bytes));
}

void HubModelStore::set_peers(const std::vector<std::pair<NodeId, std::string>>& wanted) {
  Peers next;
  const Peers before = peers();
  for (const auto& [id, address] : wanted) {
    const auto same = std::find_if(before.begin(), before.end(),
                                   [&](const auto& peer) { return peer->id == id && peer->address == address; });
    if (same != before.end()) {
      next.push_back(*same);
      continue;
    }
    NodeClientOptions options;
    options.address = address;
    options.tls = tls_;
    options.expected_hub = id;
    options.connect_timeout_ms = 1'000;
    auto client = NodeClient::make(options);
    // An address that cannot be used counts as a hub that does not answer.
    next.push_back(std::make_shared<Peer>(Peer{id, address, client ? std::move(*client) : nullptr}));
  }
  const std::lock_guard lock(mutex_);
  peers_ = std::move(next);
}

HubModelStore::Peers HubModelStore::peers() const {
  const std::lock_guard lock(mutex_);
  return peers_;
}

std::vector<Bytes> HubModelStore::missing(const std::vector<Bytes>& sha256s) const {
  std::vector<Bytes> absent;
  for (const Bytes& sha256 : sha256s) {
    if (sha256.size() != kSha256Bytes || !blobs_->has(sha256)) absent.push_back(sha256);
  }
  return absent;
}

AdminAnswer HubModelStore::answer(const PeerIdentity& peer, const HasBlobs& question) const {
  if (care_ && peer.role != NodeRole::kEdge) care_->asked(question.sha256);
  AdminAnswer answer;
  answer.value = encode(missing(question.sha256));
  if (ledger_) answer.index = ledger_->status().last_index;
  return answer;
}

Result<void> HubModelStore::check_published(BytesView signed_manifest, BytesView model_key, bool active) {
  const auto manifest = open_manifest(signed_manifest, model_key);
  if (!manifest) return fail(manifest.error());
  if (origin_) {
    if (active) return origin_->resting(manifest->files);
    return fail(Code::kNotActive, "this hub is not the active one, which puts files into " + origin_->describe());
  }
  HasBlobs question;
  question.sha256.reserve(manifest->files.size());
  for (const ManifestFile& file : manifest->files) question.sha256.push_back(file.sha256);
  if (care_) care_->asked(question.sha256);
  std::size_t complete = missing(question.sha256).empty() ? 1 : 0;
  std::string lacking = complete == 1 ? "" : " this hub";
  const Bytes call = encode(NodeCall{question});
  const Peers others = peers();
  for (const auto& peer : others) {
    const auto raw = peer->client ? peer->client->call(call, kPeerTimeoutMs)
                                  : Result<Bytes>(fail(Code::kInvalid, "its address cannot be used: " + peer->address));
    if (!raw) {
      lacking += " " + peer->id + " (" + raw.error().message + ")";
      continue;
    }
    const auto answer = decode<AdminAnswer>(*raw, "answer");
    const auto absent = answer && answer->value ? decode<std::vector<Bytes>>(*answer->value, "missing blobs")
                                                : Result<std::vector<Bytes>>(fail(Code::kCorrupt, "no answer"));
    if (absent && absent->empty())
      ++complete;
    else
      lacking += " " + peer->id;
  }
  const std::size_t majority = (others.size() + 1) / 2 + 1;
  if (complete >= majority) return {};
  return fail(Code::kUnavailable, "only " + std::to_string(complete) + " of " + std::to_string(others.size() + 1) +
                                      " hubs hold every file of the release, " + std::to_string(majority) +
                                      " are needed; missing at:" + lacking);
}

Result<void> HubModelStore::pull(BytesView sha256) {
  {
    std::unique_lock lock(mutex_);
    pulled_.wait(lock, [&] { return !pulling_.contains(Bytes(sha256)); });
    if (has_file(sha256)) return {};  // the one that pulled it before us
    pulling_.insert(Bytes(sha256));
  }
  Result<void> end = fail(Code::kNotFound, "blob " + to_hex(sha256) + " is on no hub");
  for (const auto& peer : peers()) {  // a neighbour before the object store
    if (!peer->client || stopping_) continue;
    const auto got = pull_from(*peer, sha256);
    if (got || got.error().code != Code::kNotFound) end = got;
    if (got) break;
  }
  if (!end && origin_ && !stopping_) {
    const auto got = origin_->pull(sha256);
    // What a hub said is worth more than the absence of an object.
    if (got || got.error().code != Code::kNotFound || end.error().code == Code::kNotFound) end = got;
  }
  if (!end && stopping_) end = fail(Code::kUnavailable, "this hub stops");  // not everybody was asked
  {
    const std::lock_guard lock(mutex_);
    pulling_.erase(Bytes(sha256));
  }
  pulled_.notify_all();
  return end;
}

// A blob whose file somebody removed is none: nothing would bring it while it counts as here.
bool HubModelStore::has_file(BytesView sha256) {
  if (!blobs_->has(sha256)) return false;
  const auto file = blobs_->open_file(sha256);
  if (file || file.error().code != Code::kNotFound) return true;
  (void)blobs_->verify(sha256);  // no file: nothing is read, and it is forgotten
  return false;
}

// kNotFound: it says that it has none, or says nothing.
Result<void> HubModelStore::pull_from(Peer& peer, BytesView sha256) {
  HasBlobs question;
  question.sha256.emplace_back(sha256);
  const auto raw = peer.client->call(encode(NodeCall{question}), kPeerTimeoutMs);
  const auto answer = raw ? decode<AdminAnswer>(*raw, "answer") : Result<AdminAnswer>(fail(raw.error()));
  const auto absent = answer && answer->value ? decode<std::vector<Bytes>>(*answer->value, "missing blobs")
                                              : Result<std::vector<Bytes>>(fail(Code::kNotFound, "no answer"));
  if (!absent || !absent->empty()) return fail(Code::kNotFound, peer.id + " does not have it");
  // Its size is learnt by reading: whatever hashes to the digest is whole.
  const auto writer = blobs_->put_stream(sha256);
  if (!writer) return fail(writer.error());
  auto got = peer.client->download(
      encode(BlobDownload{Bytes(sha256), (*writer)->offset()}),
      [&](const Bytes& chunk) -> Result<void> {
        if (stopping_) return fail(Code::kUnavailable, "this hub stops");
        auto ok = (*writer)->write(chunk);
        if (ok || ok.error().code != Code::kBusy || !blobs_->make_room(chunk.size())) return ok;
        return (*writer)->write(chunk);  // it stood at the quota
      },
      kIdleTimeoutMs);
  if (!got) {
    if (got.error().code == Code::kInvalid) (*writer)->discard();  // what is here is longer than what it has
    return got;
  }
  auto whole = (*writer)->commit();
  if (whole || whole.error().code != Code::kCorrupt) return whole;
  return fail(Code::kCorrupt, "blob " + to_hex(sha256) + " from " + peer.id + " has other content");
}

// Here, or pulled from another hub first.
Result<BlobFile> HubModelStore::have(BytesView sha256) {
  if (const auto ok = check_digest(sha256); !ok) return fail(ok.error());
  auto file = open_whole(sha256);
  if (!file && file.error().code == Code::kNotFound) {
    if (const auto pulled = pull(sha256); !pulled) return fail(pulled.error());
    file = blobs_->open_file(sha256);
  }
  if (!file) return fail(not_served(file.error()));
  return file;
}

Result<std::unique_ptr<FetchSource>> HubModelStore::fetch(Bytes first, std::function<void()> more) {
  auto request = decode<FetchRequest>(first, "fetch");
  if (!request) return fail(request.error());
  return slow_.fetch(std::move(*request), std::move(more));
}

Result<std::unique_ptr<FetchSource>> HubModelStore::open_fetch(const FetchRequest& request, SlowFetches::Key& missing) {
  if (const auto* delta = std::get_if<FetchDelta>(&request.what)) return open_delta(*delta, request.more, missing);
  const Bytes& sha256 = std::get<FetchBlob>(request.what).sha256;
  if (const auto ok = check_digest(sha256); !ok) return fail(ok.error());
  missing = {{}, sha256};
  auto file = blobs_->open_file(sha256);
  if (!file && (file.error().code == Code::kNotFound || file.error().code == Code::kCorrupt))
    return std::unique_ptr<FetchSource>();
  if (!file) return fail(not_served(file.error()));
  return BlobFetch::open(sha256, std::move(*file), request.more);
}

Result<std::unique_ptr<FetchSource>> HubModelStore::open_delta(const FetchDelta& wanted, const FetchMore& more,
                                                               SlowFetches::Key& missing) {
  if (wanted.bases.size() > kFetchBasesMax) {
    return fail(Code::kInvalid,
                std::to_string(wanted.bases.size()) + " bases: at most " + std::to_string(kFetchBasesMax));
  }
  if (const auto ok = check_digest(wanted.target); !ok) return fail(ok.error());
  missing = {{}, wanted.target};
  if (!blobs_->has(wanted.target)) return std::unique_ptr<FetchSource>();
  const auto base =
      std::find_if(wanted.bases.begin(), wanted.bases.end(), [&](const Bytes& one) { return blobs_->has(one); });
  if (base == wanted.bases.end()) {
    if (wanted.bases.empty()) return fail(Code::kNotFound, "no file to start from");
    missing = {wanted.bases.front(), wanted.target};  // the likest: another hub, or the object store, may have it
    return std::unique_ptr<FetchSource>();
  }
  missing = {*base, wanted.target};
  auto found = deltas_->find(*base, wanted.target);
  if (!found) return fail(found.error());
  if (!*found) return std::unique_ptr<FetchSource>();
  return BlobFetch::open((*found)->sha256, std::move((*found)->file), more);
}

Result<void> HubModelStore::bring(const SlowFetches::Key& missing) {
  const auto& [base, target] = missing;
  if (stopping_) return fail(Code::kUnavailable, "this hub stops");
  if (base.empty()) {
    const auto file = open_whole(target);
    if (file) return {};
    return file.error().code == Code::kNotFound ? pull(target) : Result<void>(fail(not_served(file.error())));
  }
  const auto to = map_whole(target);
  if (!to && to.error().code == Code::kNotFound) return pull(target);
  if (!to) return fail(not_served(to.error()));
  auto from = map_whole(base);
  if (!from && from.error().code == Code::kNotFound) {
    if (const auto pulled = pull(base); !pulled) return fail(no_base(pulled.error()));
    from = map_whole(base);
  }
  // Not from this one, and the gateway need not wait: the file itself is here.
  if (!from) return fail(no_base(not_served(from.error())));
  const auto made = deltas_->delta(base, from->bytes(), target, to->bytes());
  return made ? Result<void>() : Result<void>(fail(made.error()));
}

// As it came. X3: what was cut short is set aside, so that it can come again. kNotFound: it is not here, any more.
Result<BlobFile> HubModelStore::open_whole(BytesView sha256) {
  auto file = blobs_->open_file(sha256);
  if (file || file.error().code != Code::kCorrupt) return file;
  const auto why = blobs_->verify(sha256);
  if (why) return fail(replaced(sha256));
  if (why.error().code != Code::kCorrupt && why.error().code != Code::kNotFound) return fail(why.error());
  return fail(Code::kNotFound, not_served({Code::kUnavailable, why.error().message, {}, 0}).message);
}

// Of a part a delta could be made, and kept, that makes nobody's file.
Result<BlobMapping> HubModelStore::map_whole(BytesView sha256) {
  const auto file = open_whole(sha256);
  if (!file) return fail(file.error());
  auto mapped = blobs_->map(sha256);
  if (mapped && mapped->bytes().size() != file->size_bytes()) return fail(replaced(sha256));
  return mapped;
}

Result<ChunkSource> HubModelStore::download(Bytes request) {
  auto wanted = decode<BlobDownload>(request, "download");
  if (!wanted) return fail(wanted.error());
  auto file = have(wanted->sha256);
  if (!file) return fail(file.error());
  if (wanted->offset > file->size_bytes()) {
    return fail(Code::kInvalid, "offset " + std::to_string(wanted->offset) + " is beyond the blob's " +
                                    std::to_string(file->size_bytes()) + " bytes");
  }
  auto shared = std::make_shared<BlobFile>(std::move(*file));
  return ChunkSource([shared, at = wanted->offset]() mutable -> Result<std::optional<Bytes>> {
    const std::uint64_t bytes = std::min<std::uint64_t>(kChunkBytes, shared->size_bytes() - at);
    if (bytes == 0) return std::optional<Bytes>{};
    auto chunk = shared->read(at, static_cast<std::size_t>(bytes));
    if (!chunk) return fail(not_served(chunk.error()));
    at += bytes;
    return std::optional<Bytes>(std::move(*chunk));
  });
}

Result<std::unique_ptr<UploadConsumer>> HubModelStore::upload(const PeerIdentity& peer, Bytes first) {
  if (peer.role != NodeRole::kClient)
    return fail(Code::kDenied, "only an operator's certificate (role client) may publish");
  const auto what = decode<BlobUpload>(first, "upload");
  if (!what) return fail(what.error());
  if (const auto ok = check_digest(what->sha256); !ok) return fail(ok.error());
  if (what->size_bytes == 0 || what->size_bytes > kModelFileBytesMax) {
    return fail(Code::kInvalid, "size_bytes = " + std::to_string(what->size_bytes) + ": must be 1 to 4 GiB");
  }
  auto writer = blobs_->put_stream(what->sha256, what->size_bytes);
  if (!writer && writer.error().code == Code::kBusy && blobs_->make_room(what->size_bytes))
    writer = blobs_->put_stream(what->sha256, what->size_bytes);  // copies of what rests in the object store gave way
  if (!writer) return fail(writer.error());
  return std::unique_ptr<UploadConsumer>(std::make_unique<Upload>(std::move(*writer)));
}

}  // namespace tidelock
