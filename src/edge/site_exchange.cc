#include "edge/site_exchange.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "codec/archive.h"
#include "edge/addresses.h"
#include "protocol/fetch_window.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

// The list is not asked for more often, and is no older when a file is.
constexpr Nanos kAgainAfter = 2 * kSecond;
constexpr Nanos kListOld = 30 * kSecond;    // asked for anew when somebody comes who is in it
constexpr Nanos kListDead = 300 * kSecond;  // nobody is served by it any more
constexpr Nanos kFailedAfter = 60 * kSecond;
constexpr Nanos kToldAfter = 5 * kSecond;   // where bytes came from is no hurry
constexpr int kNeighbourTimeoutMs = 1'000;  // on a LAN
constexpr std::size_t kComingMax = 64;

// A neighbour is told that it cannot have the file here now; what this gateway's own disk did stands in its own log.
Error not_served(Error why) {
  if (why.code == Code::kNotFound) return why;
  log(LogLevel::kError, "models", "file not served", {{"message", why.message}});
  return {Code::kUnavailable, std::move(why.message), {}, 0};
}

// A whole file, which was hashed when it came. It stays readable when it is removed meanwhile.
class NeighbourFetch : public FetchSource {
 public:
  NeighbourFetch(BlobFile file, FetchWindow window) : file_(std::move(file)), window_(std::move(window)) {}
  Result<void> take(Bytes said) override { return window_.take(said); }
  Result<std::optional<Bytes>> next() override {
    return window_.next([this](std::uint64_t offset, std::size_t bytes) -> Result<Bytes> {
      auto piece = file_.read(offset, bytes);
      if (!piece) return fail(not_served(piece.error()));
      return piece;
    });
  }

 private:
  const BlobFile file_;
  FetchWindow window_;
};

}  // namespace

SiteExchange::SiteExchange(const EdgeConfig& config, const Clock& clock, BlobStore& blobs, std::function<void()> wake)
    : config_(config), clock_(clock), blobs_(blobs), wake_(std::move(wake)) {}

Result<std::unique_ptr<SiteExchange>> SiteExchange::open(const EdgeConfig& config, const Clock& clock, BlobStore& blobs,
                                                         std::function<void()> wake) {
  std::unique_ptr<SiteExchange> site(new SiteExchange(config, clock, blobs, std::move(wake)));
  if (!config.site_neighbours || config.site_listen.empty()) return site;
  const auto at = split_address("transfer.listen", config.site_listen);
  if (!at) return fail(at.error());
  NodeServerOptions options;
  options.role = NodeRole::kEdge;
  options.host = at->first;
  options.port = at->second;
  options.tls = config.tls;
  options.bulk_threads = 2;
  options.transfers_max = 8;
  options.calls_max = 64;
  auto server = NodeServer::start(options, *site);
  if (!server) return fail(server.error());
  site->server_ = std::move(*server);
  site->address_ = config.site_address.empty() ? site->server_->address() : config.site_address;
  return site;
}

SiteExchange::~SiteExchange() { stop(); }

void SiteExchange::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (server_) server_->stop();
}

// ---- the hub

void SiteExchange::on_session() {
  const std::lock_guard lock(mutex_);
  due_at_ = 0;
}

void SiteExchange::want_neighbours() {
  const std::lock_guard lock(mutex_);
  if (heard_at_ == kNever || saturating_sub(clock_.now(), heard_at_) >= kAgainAfter) due_at_ = 0;
}

Nanos SiteExchange::due_at() const {
  const std::lock_guard lock(mutex_);
  return due_at_;
}

void SiteExchange::tend(const std::function<Result<AdminAnswer>(SiteCall)>& call) {
  SiteCall say;
  {
    const std::lock_guard lock(mutex_);
    if (!config_.site_neighbours || due_at_ > clock_.now()) return;
    due_at_ = kForever;
    say.address = address_;
    say.bytes = bytes_;
  }
  const auto answer = call(std::move(say));
  const auto view = answer && answer->value ? decode<SiteView>(*answer->value, "neighbours")
                    : answer                ? Result<SiteView>(fail(Code::kCorrupt, "the hub named no neighbours"))
                                            : Result<SiteView>(fail(answer.error()));
  const std::lock_guard lock(mutex_);
  heard_at_ = clock_.now();
  if (!view) {  // a hub of a build before this, or one that is not active any more: the list grows old
    log(LogLevel::kDebug, "models", "no neighbours are told", {{"message", view.error().message}});
    due_at_ = std::min(due_at_, saturating_add(heard_at_, kFailedAfter));
    return;
  }
  good_at_ = heard_at_;
  members_.clear();
  for (const SiteMember& member : view->members) {
    if (members_.size() < kSiteMembersMax && check_node_id(member.edge)) members_[member.edge] = member.address;
  }
}

// ---- neighbours

bool SiteExchange::alone() const {
  const std::lock_guard lock(mutex_);
  return std::none_of(members_.begin(), members_.end(),
                      [this](const auto& member) { return member.first != config_.id && !member.second.empty(); });
}

std::vector<NodeId> SiteExchange::serving() const {
  std::vector<NodeId> ids;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, address] : members_) {
    if (id == config_.id ? !address_.empty() : !address.empty()) ids.push_back(id);
  }
  return ids;
}

Result<NodeClient*> SiteExchange::client(const NodeId& neighbour) {
  std::string address;
  {
    const std::lock_guard lock(mutex_);
    const auto it = members_.find(neighbour);
    if (it == members_.end()) return fail(Code::kUnavailable, neighbour + " is no neighbour any more");
    address = it->second;
  }
  auto& client = clients_[neighbour];
  if (client && client->address() == address) return client.get();
  NodeClientOptions options;
  options.address = address;
  options.tls = config_.tls;
  options.expected_hub = neighbour;
  options.role = NodeRole::kEdge;
  options.connect_timeout_ms = kNeighbourTimeoutMs;
  auto made = NodeClient::make(options);
  if (!made) return fail(made.error());
  client = std::move(*made);
  return client.get();
}

Result<SiteTell> SiteExchange::ask(const NodeId& neighbour, BytesView sha256) {
  const auto to = client(neighbour);
  if (!to) return fail(to.error());
  const auto raw = (*to)->call(encode(SiteAsk{Bytes(sha256)}), kNeighbourTimeoutMs);
  if (!raw) return fail(raw.error());
  return decode<SiteTell>(*raw, "what a neighbour says of a file");
}

void SiteExchange::wait(Nanos most_ns) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::nanoseconds(most_ns), [this] { return stopping_; });
}

void SiteExchange::fetching(BytesView sha256, bool paused) {
  const std::lock_guard lock(mutex_);
  if (coming_.size() >= kComingMax && !coming_.contains(Bytes(sha256))) coming_.clear();
  coming_[Bytes(sha256)].paused = paused;
}
void SiteExchange::got_on(BytesView sha256) {
  const std::lock_guard lock(mutex_);
  if (const auto it = coming_.find(Bytes(sha256)); it != coming_.end()) ++it->second.progress;
}
void SiteExchange::came(BytesView sha256) {
  const std::lock_guard lock(mutex_);
  coming_.erase(Bytes(sha256));
}

void SiteExchange::arrived(const std::string& name, const std::string& version, const NodeId& from,
                           std::uint64_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(mutex_);
  auto one = std::find_if(bytes_.begin(), bytes_.end(), [&](const ModelBytes& known) {
    return known.name == name && known.version == version && known.from == from;
  });
  if (one == bytes_.end()) {
    if (bytes_.size() >= kSiteSourcesMax) bytes_.erase(bytes_.begin());  // the oldest
    bytes_.push_back({name, version, from, 0});
    one = bytes_.end() - 1;
  }
  one->bytes += bytes;
  due_at_ = std::min(due_at_, saturating_add(clock_.now(), kToldAfter));
}

// ---- serving

bool SiteExchange::admits(const PeerIdentity& peer) {
  bool look = false, known_still = false;
  {
    const std::lock_guard lock(mutex_);
    const Nanos age = good_at_ == kNever ? kForever : saturating_sub(clock_.now(), good_at_);
    const bool known = peer.role == NodeRole::kEdge && members_.contains(peer.id);
    if (known && age < kListOld) return true;
    // It may be new here, or not be one of us any more (X1).
    const Nanos earliest = heard_at_ == kNever ? clock_.now() : saturating_add(heard_at_, kAgainAfter);
    look = due_at_ > earliest;
    due_at_ = std::min(due_at_, earliest);
    known_still = known && age < kListDead;
  }
  if (look) wake_();
  return known_still;
}

SiteTell SiteExchange::here(BytesView sha256) const {
  if (blobs_.has(sha256)) return {SiteState::kHas, 0};
  const std::lock_guard lock(mutex_);
  const auto it = coming_.find(Bytes(sha256));
  if (it == coming_.end()) return {};
  return {it->second.paused ? SiteState::kPaused : SiteState::kFetching, it->second.progress};
}

void SiteExchange::on_session_open(SessionPtr session) { session->close("an edge has no sessions"); }

void SiteExchange::on_call(const PeerIdentity& peer, Bytes request, Reply reply) {
  if (!admits(peer)) return reply(fail(Code::kBusy, identity_name(peer) + " is not known as a neighbour here"));
  const auto asked = decode<SiteAsk>(request, "question of a neighbour");
  if (!asked) return reply(fail(asked.error()));
  reply(encode(here(asked->sha256)));
}

Result<ChunkSource> SiteExchange::on_download(const PeerIdentity&, Bytes) {
  return fail(Code::kInvalid, "an edge serves fetches only");
}
Result<std::unique_ptr<UploadConsumer>> SiteExchange::on_upload(const PeerIdentity&, Bytes) {
  return fail(Code::kDenied, "an edge takes no uploads");
}

Result<std::unique_ptr<FetchSource>> SiteExchange::on_fetch(const PeerIdentity& peer, Bytes first,
                                                            std::function<void()>) {
  if (!admits(peer)) return fail(Code::kBusy, identity_name(peer) + " is not known as a neighbour here");
  const auto request = decode<FetchRequest>(first, "fetch");
  if (!request) return fail(request.error());
  const auto* blob = std::get_if<FetchBlob>(&request->what);
  if (blob == nullptr) return fail(Code::kInvalid, "an edge makes no deltas");
  auto file = blobs_.open_file(blob->sha256);
  if (!file) return fail(not_served(file.error()));
  auto window = FetchWindow::open(blob->sha256, file->size_bytes(), request->more);
  if (!window) return fail(window.error());
  return std::unique_ptr<FetchSource>(std::make_unique<NeighbourFetch>(std::move(*file), std::move(*window)));
}

void SiteExchange::on_refused(const std::string& peer_address, const std::string& why) {
  log(LogLevel::kWarn, "models", "neighbour refused", {{"peer", peer_address}, {"why", why}});
}

}  // namespace tidelock
