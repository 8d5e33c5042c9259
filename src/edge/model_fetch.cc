// One fetch is one conversation. The edge says up to which byte the hub may send; what it said and has not got is
// outstanding, and never more than the pace's window. Each time it says more, the budget is asked first.
#include "edge/model_fetch.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "codec/delta.h"
#include "edge/l2_store.h"
#include "protocol/admin.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr char kSpentRow[] = "transfer_spent";
constexpr int kConnectTimeoutMs = 3'000;
constexpr int kIdleTimeoutMs = 8'000;    // with bytes outstanding
constexpr int kMakeTimeoutMs = 120'000;  // a delta may have to be made first
constexpr std::size_t kBasesMax = 8;
constexpr std::uint64_t kDeltaFrom = 64u << 10;  // smaller files come whole
constexpr int kLookMs = 250;                     // how often `go_on` is asked while nothing comes
// What goes over the wire beside the bytes themselves, measured on loopback: a TLS handshake with both certificates and
// a new stream (of a resumed session half of it); a stream alone; each frame; each time more is asked for.
constexpr std::uint64_t kOpenBytes = 4'000;
constexpr std::uint64_t kStreamBytes = 600;
constexpr std::uint64_t kFrameBytes = 48;
constexpr std::uint64_t kAskBytes = 64;
constexpr std::size_t kApplyBytes = 256u << 10;
constexpr std::uint64_t kPieceBytesMin = 2'048;
constexpr std::uint64_t kPayloadLeast = 512;  // less is not worth asking for
constexpr Nanos kSiteLook = 300 * kSecond;    // a pause ends early when a neighbour has the file

std::uint64_t wire_bytes(std::uint64_t payload, std::uint64_t piece) {
  return payload + (payload + piece - 1) / piece * kFrameBytes + kAskBytes;
}
// The most payload that costs no more than `wire`.
std::uint64_t payload_of(std::uint64_t wire, std::uint64_t piece) {
  if (wire <= kAskBytes + kFrameBytes) return 0;
  const std::uint64_t left = wire - kAskBytes;
  const std::uint64_t whole = left / (piece + kFrameBytes), rest = left % (piece + kFrameBytes);
  return whole * piece + (rest > kFrameBytes ? rest - kFrameBytes : 0);
}

Error paused(const TransferGrant& no, const TransferLimits& limits) {
  return Error{Code::kBusy,
               "paused: " + transfer_wait_text(no.why, limits) + "; goes on in " +
                   std::to_string(no.wait_ns / (60 * kSecond) + 1) + " min at the latest",
               {},
               std::max<Nanos>(no.wait_ns, kMillisecond)};
}

int to_ms(Nanos ns) { return static_cast<int>(std::clamp<Nanos>(ns / kMillisecond + 1, 1, 3'600'000)); }

}  // namespace

// ---- one conversation

class ModelFetch::Conversation {
 public:
  enum class With : std::uint8_t { kHub, kNeighbour };
  // Of the file itself, or of a delta that makes it out of one of `bases`.
  Conversation(ModelFetch& owner, With with, const ManifestFile& file, std::vector<Bytes> bases, const GoOn& go_on)
      : owner_(owner),
        near_(with == With::kNeighbour),
        pace_(near_ ? owner.near_pace_ : owner.pace_),
        file_(file),
        bases_(std::move(bases)),
        go_on_(go_on),
        heard_at_(owner.clock_.now()) {}

  // The first frame; with what may be sent at once. What a delta is, the hub says first.
  Result<Bytes> first() {
    if (!bases_.empty()) {
      piece_ = kPieceBytesMin;
      return encode(FetchRequest{FetchDelta{file_.sha256, bases_}, more()});
    }
    if (const auto ok = write_to(file_.sha256, file_.size_bytes); !ok) return fail(ok.error());
    if (const auto ok = want(); !ok) return fail(ok.error());
    return encode(FetchRequest{FetchBlob{file_.sha256}, more()});
  }

  Result<FetchTurn> turn(std::optional<Bytes> came) {
    auto next = take_turn(std::move(came));
    ours_ = !next;
    return next;
  }
  // The last error was said here, not by the hub.
  bool ours() const { return ours_; }
  // What came is not what was to come: seen here, whatever the other end says of itself.
  bool lied() const { return lied_; }

  Result<FetchTurn> take_turn(std::optional<Bytes> came) {
    if (!go_on_()) return fail(Code::kUnavailable, "interrupted: something more urgent came");
    const Nanos now = owner_.clock_.now();
    if (came) {
      heard_at_ = now;
      if (const auto ok = take(now, *came); !ok) return fail(ok.error());
    }
    FetchTurn turn;
    if (!writer_) {  // a delta that nobody has named yet
      turn.wake_ms = kLookMs;
      owner_.site_->got_on(file_.sha256);
      if (saturating_sub(now, heard_at_) >= kMakeTimeoutMs * kMillisecond) {
        return fail(Code::kUnavailable, "no delta was made within " + std::to_string(kMakeTimeoutMs) + " ms");
      }
      return turn;
    }
    turn.done = head_seen_ && writer_->offset() == size_bytes_;
    if (turn.done) return turn;
    const std::uint64_t before = asked_;
    if (const auto ok = want(); !ok && asked_ == writer_->offset()) return fail(ok.error());
    if (asked_ > before) {
      if (before == writer_->offset()) heard_at_ = now;  // nothing was due until now
      turn.say = encode(more());
    }
    Nanos wait = kLookMs * kMillisecond;
    if (asked_ > writer_->offset()) {
      const Nanos silent = saturating_sub(now, heard_at_);
      // Before its head the hub may have to bring the file from elsewhere.
      const int patience_ms = head_seen_ || near_ ? kIdleTimeoutMs : kMakeTimeoutMs;
      if (!head_seen_ && !near_) owner_.site_->got_on(file_.sha256);
      if (silent >= patience_ms * kMillisecond) {
        return fail(Code::kUnavailable, "nothing came for " + std::to_string(patience_ms) + " ms");
      }
    } else {
      wait = std::min(wait, rate_wait_ns_);
    }
    turn.wake_ms = to_ms(wait);
    return turn;
  }
  bool heard() const { return head_seen_; }
  bool all_here() const { return writer_ && writer_->offset() == size_bytes_; }
  TransferPace& pace() { return pace_; }
  std::uint64_t came_bytes() const { return came_bytes_; }
  bool resumed() const { return start_ > 0; }
  // Null before the head of a delta.
  BlobStore::Writer* writer() { return writer_.get(); }
  const Bytes& delta_sha256() const { return delta_sha256_; }

 private:
  struct Asked {
    std::uint64_t begin, end;
    Nanos at;
  };

  Result<void> write_to(BytesView sha256, std::uint64_t size_bytes) {
    // Without its length a file lies apart: what came from a hub and what came from a neighbour never mix.
    const auto open = [&] {
      return near_ ? owner_.blobs_.put_stream(sha256) : owner_.blobs_.put_stream(sha256, size_bytes);
    };
    auto writer = open();
    if (writer && (*writer)->offset() > size_bytes) {
      (*writer)->discard();
      writer->reset();
      writer = open();
    }
    if (!writer) return fail(writer.error());
    writer_ = std::move(*writer);
    size_bytes_ = size_bytes;
    start_ = asked_ = writer_->offset();
    return {};
  }
  FetchMore more() const { return {start_, asked_, piece_}; }

  // Asks for more if pace and budget let it. An error is a pause, or the store's.
  Result<void> want() {
    const std::uint64_t beside = open_charged_ ? 0 : owner_.open_bytes_;
    rate_wait_ns_ = 0;
    if (!near_) owner_.learn_round_trip();
    const std::uint64_t window = pace_.window_bytes(), outstanding = asked_ - writer_->offset();
    // A piece is an eighth of the window at most: the wait for it shall tell of the queue, not of its own length.
    piece_ = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(pace_.piece_bytes(), std::max<std::uint64_t>(window / 8, kPieceBytesMin)));
    const std::uint64_t left = size_bytes_ - asked_;
    const std::uint64_t step = std::max<std::uint64_t>(piece_, window / 4);  // saying more often costs more
    if (left == 0 || (outstanding > 0 && outstanding + std::min(step, left) > window)) return {};
    const std::uint64_t wanted = std::min(left, outstanding == 0 ? std::max<std::uint64_t>(window / 2, piece_) : step);
    if (near_) {  // M3: the LAN costs nothing
      ask_for(wanted);
      return {};
    }
    const auto grant = owner_.take(beside + wire_bytes(wanted, piece_));
    if (!grant) return fail(grant.error());
    if (grant->why == TransferWait::kRate) {
      rate_wait_ns_ = grant->wait_ns;
      return {};
    }
    open_charged_ = true;
    owner_.open_bytes_ = kStreamBytes;  // of another conversation on this connection
    const std::uint64_t payload =
        grant->bytes > beside ? std::min(wanted, payload_of(grant->bytes - beside, piece_)) : 0;
    if (payload < std::min(wanted, kPayloadLeast)) {  // M3: the end of a budget; its last bytes are of no use
      const TransferGrant no = owner_.budget_.look(owner_.clocks());
      return fail(paused(no.why != TransferWait::kNone ? no : *grant, owner_.budget_.limits()));
    }
    ask_for(payload);
    return {};
  }
  void ask_for(std::uint64_t payload) {
    under_way_.push_back({asked_, asked_ + payload, owner_.clock_.now()});
    asked_ += payload;
  }

  Result<void> take(Nanos now, const Bytes& came) {
    if (!head_seen_) {
      const auto head = decode<FetchHead>(came, "head of a fetch");
      lied_ = !head;
      if (!head) return fail(head.error());
      head_seen_ = true;
      if (!bases_.empty()) {
        if (head->size_bytes >= file_.size_bytes) return fail(Code::kNotFound, "the delta is no smaller than the file");
        delta_sha256_ = head->sha256;
        return write_to(head->sha256, head->size_bytes);
      }
      if (head->sha256 != file_.sha256 || head->size_bytes != file_.size_bytes) {  // X2
        lied_ = true;
        return fail(Code::kCorrupt,
                    file_.path + ": " + std::to_string(head->size_bytes) + " bytes of another file are offered");
      }
      return {};
    }
    if (came.empty() || came.size() > asked_ - writer_->offset()) {
      lied_ = true;
      return fail(Code::kCorrupt, file_.path + ": " + std::to_string(came.size()) + " bytes came, " +
                                      std::to_string(asked_ - writer_->offset()) + " were asked for");
    }
    std::optional<Asked> begins;  // this is the first piece of what was asked then
    while (!under_way_.empty() && writer_->offset() >= under_way_.front().begin) {
      begins = under_way_.front();
      under_way_.pop_front();
    }
    if (begins) {
      pace_.on_arrival(now, saturating_sub(now, begins->at), begins->end - begins->begin);
      if (!near_) owner_.window_bytes_.set(static_cast<double>(pace_.window_bytes()));
    }
    came_bytes_ += came.size();
    if (!near_) {
      owner_.site_->got_on(file_.sha256);
      owner_.downloaded_.add(came.size());
    }
    (near_ ? owner_.neighbour_bytes_ : bases_.empty() ? owner_.full_bytes_ : owner_.delta_bytes_).add(came.size());
    return writer_->write(came);
  }

  ModelFetch& owner_;
  const bool near_;
  TransferPace& pace_;
  const ManifestFile& file_;
  const std::vector<Bytes> bases_;  // none: the file itself
  const GoOn& go_on_;
  std::unique_ptr<BlobStore::Writer> writer_;
  Bytes delta_sha256_;
  std::uint64_t size_bytes_ = 0;  // of what is sent
  std::uint64_t came_bytes_ = 0;
  std::uint64_t start_ = 0;
  std::uint64_t asked_ = 0;  // up to where
  std::uint32_t piece_ = 0;
  std::deque<Asked> under_way_;
  Nanos heard_at_;
  Nanos rate_wait_ns_ = 0;
  bool head_seen_ = false;
  bool open_charged_ = false;  // what this connection cost
  bool ours_ = false;
  bool lied_ = false;
};

// ---- the fetch

ModelFetch::ModelFetch(const EdgeConfig& config, Kv& kv, const Clock& clock, Metrics& metrics, BlobStore& blobs,
                       Asks asks, const TransferSpent& spent, std::unique_ptr<SiteExchange> site)
    : config_(config),
      kv_(kv),
      clock_(clock),
      metrics_(metrics),
      blobs_(blobs),
      asks_(std::move(asks)),
      downloaded_(metrics.counter("tidelock_edge_model_bytes_total", "Bytes of model files fetched from hubs.")),
      full_bytes_(metrics.counter("tidelock_edge_transfer_bytes_total", "Bytes of model transfers, by how they came.",
                                  {{"kind", "full"}})),
      delta_bytes_(metrics.counter("tidelock_edge_transfer_bytes_total", "Bytes of model transfers, by how they came.",
                                   {{"kind", "delta"}})),
      neighbour_bytes_(metrics.counter("tidelock_edge_transfer_bytes_total",
                                       "Bytes of model transfers, by how they came.", {{"kind", "neighbour"}})),
      fallbacks_(metrics.counter("tidelock_edge_delta_fallbacks_total",
                                 "Files that came whole although the gateway had one to start from.")),
      site_fallbacks_(metrics.counter("tidelock_edge_site_fallbacks_total",
                                      "Files for which a hub was asked although neighbours of the site could have "
                                      "brought them.")),
      lies_(metrics.counter("tidelock_edge_site_lies_total",
                            "Files that a neighbour of the site sent other bytes for; they were not used.")),
      day_bytes_(metrics.gauge("tidelock_edge_transfer_day_bytes", "Charged to the transfer budget of this day, UTC.")),
      month_bytes_(
          metrics.gauge("tidelock_edge_transfer_month_bytes", "Charged to the transfer budget of this month, UTC.")),
      window_bytes_(metrics.gauge("tidelock_edge_transfer_window_bytes",
                                  "What a model transfer may have asked for and not got, so that the link's queue "
                                  "stays short.")),
      site_(std::move(site)),
      budget_(config.transfer, spent) {
  show();
}

ModelFetch::~ModelFetch() = default;

Result<std::unique_ptr<ModelFetch>> ModelFetch::open(const EdgeConfig& config, Kv& kv, const Clock& clock,
                                                     Metrics& metrics, BlobStore& blobs, Asks asks) {
  const auto row = kv.get(kMetaFamily, kSpentRow);
  if (!row) return fail(row.error());
  TransferSpent spent;
  if (*row) {
    // D2: a row that is damaged is not taken for an empty one: that would give a budget anew.
    const auto stored = decode<TransferSpent>(**row, "row of what transfers have spent");
    if (!stored) return fail(stored.error());
    spent = *stored;
  }
  auto site = SiteExchange::open(config, clock, blobs, asks.wake);
  if (!site) return fail(site.error());
  return std::unique_ptr<ModelFetch>(
      new ModelFetch(config, kv, clock, metrics, blobs, std::move(asks), spent, std::move(*site)));
}

void ModelFetch::stop() { site_->stop(); }

void ModelFetch::begin_version(std::string name, std::string version) {
  name_ = std::move(name);
  version_ = std::move(version);
}

void ModelFetch::tend(const NodeId& session_hub) {
  if (session_hub.empty() || site_->due_at() > clock_.now()) return;
  site_->tend([&](SiteCall say) -> Result<AdminAnswer> {
    const auto hub = client(session_hub);
    if (!hub) return fail(hub.error());
    const auto raw = (*hub)->call(encode(NodeCall{std::move(say)}), kConnectTimeoutMs);
    if (!raw) return fail(raw.error());
    auto answer = decode<AdminAnswer>(*raw, "answer");
    if (answer && answer->code != Code::kOk) return fail(answer->code, answer->message);
    return answer;
  });
}

TransferBudget::Time ModelFetch::clocks() const { return {clock_.now(), wall_ms_ ? wall_ms_() : wall_ms_now()}; }

Result<void> ModelFetch::store() {
  KvBatch batch;
  batch.put(kMetaFamily, kSpentRow, encode(budget_.spent()));
  const bool limited = budget_.limits().daily_budget_bytes > 0 || budget_.limits().monthly_budget_bytes > 0;
  return kv_.commit(batch, limited ? Sync::kDisk : Sync::kNone);
}

Result<TransferGrant> ModelFetch::take(std::uint64_t bytes) {
  const TransferGrant grant = budget_.take(clocks(), bytes);
  show();
  if (!grant.store) return grant;
  if (const auto stored = store(); !stored) {  // not stored: not asked for
    budget_.give_back(clocks(), grant.day, grant.bytes);
    return fail(Code::kBusy, "disk: what transfers spend cannot be stored: " + stored.error().message);
  }
  return grant;
}

void ModelFetch::settle() {
  (void)budget_.settle();
  (void)store();  // lost: some of the budget is
}

void ModelFetch::show() {
  day_bytes_.set(static_cast<double>(budget_.day_bytes()));
  month_bytes_.set(static_cast<double>(budget_.month_bytes()));
}

void ModelFetch::learn_round_trip() {
  const Nanos round_trip = round_trip_.load(std::memory_order_relaxed);
  if (round_trip == round_trip_seen_ || round_trip <= 0) return;
  round_trip_seen_ = round_trip;
  pace_.on_round_trip(round_trip);
}

Result<NodeClient*> ModelFetch::client(const NodeId& hub) {
  const auto it = clients_.find(hub);
  if (it != clients_.end()) return it->second.get();
  const auto address = config_.hubs.find(hub);
  if (address == config_.hubs.end()) return fail(Code::kUnavailable, "hub '" + hub + "' is not among this edge's hubs");
  NodeClientOptions options;
  options.address = address->second;
  options.tls = config_.tls;
  options.expected_hub = hub;
  auto made = NodeClient::make(options);
  if (!made) return fail(made.error());
  return clients_.emplace(hub, std::move(*made)).first->second.get();
}

Result<void> ModelFetch::fetch(const NodeId& session_hub, const ManifestFile& file, const std::vector<Bytes>& bases,
                               const GoOn& go_on) {
  if (blobs_.has(file.sha256)) return {};
  own_trouble_ = true;
  const auto near = from_site(session_hub, file, go_on);
  if (!near) return fail(near.error());
  auto got = *near ? Result<void>() : from_hubs(session_hub, file, bases, go_on);
  if (got) {
    site_->came(file.sha256);
  } else if (own_trouble_ && got.error().code == Code::kBusy) {
    site_->fetching(file.sha256, true);
    // A neighbour may bring it while this gateway may not.
    if (Error why = got.error(); why.detail_ns > kSiteLook && !site_->alone()) {
      why.detail_ns = kSiteLook;
      got = fail(std::move(why));
    }
  }
  return got;
}

// ---- the site

Result<bool> ModelFetch::from_site(const NodeId& session_hub, const ManifestFile& file, const GoOn& go_on) {
  site_->want_neighbours();
  tend(session_hub);
  if (!config_.site_neighbours || site_->alone()) return false;
  SiteSource source(config_.id, file.sha256, file.size_bytes, site_->serving(), clock_.now());
  bool tried = false;  // a neighbour that said it had the file
  for (;;) {
    if (!go_on()) return fail(Code::kUnavailable, "interrupted: something more urgent came");
    const SiteSource::Next next = source.next(clock_.now());
    switch (next.step) {
      case SiteSource::Step::kWait: site_->wait(std::min<Nanos>(next.wait_ns, kLookMs * kMillisecond)); break;
      case SiteSource::Step::kAsk: {
        const auto tell = site_->ask(next.from, file.sha256);
        if (tell)
          source.told(clock_.now(), next.from, *tell);
        else if (tell.error().code == Code::kBusy)  // it does not know us yet, and asks its hub who we are
          source.told(clock_.now(), next.from, SiteTell{});
        else
          source.silent(clock_.now(), next.from);
        break;
      }
      case SiteSource::Step::kTake: {
        tried = true;
        const auto got = from_neighbour(next.from, file, go_on);
        if (got) return true;
        if (own_trouble_) return fail(got.error());
        const bool lie = got.error().code == Code::kCorrupt;
        if (lie) lies_.add();
        log(lie ? LogLevel::kWarn : LogLevel::kInfo, "models", "a file did not come from a neighbour",
            {{"file", file.path}, {"neighbour", next.from}, {"message", got.error().message}});
        source.failed(clock_.now(), next.from,
                      lie                               ? SiteSource::Failure::kWrong
                      : got.error().code == Code::kBusy ? SiteSource::Failure::kBusy
                                                        : SiteSource::Failure::kBroke);
        break;
      }
      case SiteSource::Step::kHub:
        if (next.why == SiteSource::Why::kElected && !tried) return false;
        site_fallbacks_.add();  // M3: never in silence
        log(LogLevel::kInfo, "models", "a hub is asked, for no neighbour brought it",
            {{"file", file.path}, {"why", site_why_text(next.why)}});
        return false;
    }
  }
}

// An error is this gateway's own (own_trouble_), or kCorrupt: this gateway found that the neighbour sent what it must
// not; or the neighbour had no time, could not read its file, or broke off.
Result<void> ModelFetch::from_neighbour(const NodeId& neighbour, const ManifestFile& file, const GoOn& go_on) {
  own_trouble_ = false;
  const auto from = site_->client(neighbour);
  if (!from) return fail(from.error());
  if (const auto ok = (*from)->connect(kConnectTimeoutMs); !ok) return ok;
  Conversation conversation(*this, Conversation::With::kNeighbour, file, {}, go_on);
  bool unknown = false;
  if (const auto got = converse(**from, neighbour, conversation, &unknown); !got) {
    if (conversation.lied()) return fail(Code::kCorrupt, got.error().message);
    own_trouble_ = conversation.ours() && (got.error().code == Code::kBusy || !go_on());
    // Its own word that something is corrupt is no lie, nor is what our disk does with what came.
    return got.error().code == Code::kCorrupt ? Result<void>(fail(Code::kUnavailable, got.error().message)) : got;
  }
  // M4: whatever came is hashed, and other content is not kept. Whose it was is certain only where all of it came now.
  auto whole = conversation.writer()->commit();
  if (!whole && whole.error().code == Code::kCorrupt && conversation.resumed())
    return fail(Code::kBusy, "what came in pieces is not the file: it comes anew");  // nobody's fault that is known
  own_trouble_ = !whole && whole.error().code != Code::kCorrupt;
  return whole;
}

// ---- the hubs

// Each hub holds published files or pulls them.
Result<void> ModelFetch::from_hubs(const NodeId& session_hub, const ManifestFile& file, const std::vector<Bytes>& bases,
                                   const GoOn& go_on) {
  std::vector<NodeId> order{session_hub};
  for (const auto& [id, address] : config_.hubs) {
    if (id != session_hub) order.push_back(id);
  }
  Error last{Code::kUnavailable, "no hub to fetch " + file.path + " from", {}, 0};
  for (const NodeId& id : order) {
    if (!go_on()) break;
    auto hub = client(id);
    if (!hub) {
      last = hub.error();
      continue;
    }
    const auto done = from_hub(**hub, id, file, bases, go_on);
    if (done) return {};
    last = done.error();
    if (last.code == Code::kBusy && own_trouble_) break;  // ours, not the hub's: another one helps as little
  }
  return fail(last);
}

Result<void> ModelFetch::from_hub(NodeClient& hub, const NodeId& id, const ManifestFile& file,
                                  const std::vector<Bytes>& bases, const GoOn& go_on) {
  own_trouble_ = true;
  if (const TransferGrant no = budget_.look(clocks()); no.why != TransferWait::kNone) {
    return fail(paused(no, budget_.limits()));
  }
  // Before anything is charged: a hub that cannot be reached costs nothing of a budget.
  own_trouble_ = false;
  if (const auto ok = hub.connect(kConnectTimeoutMs); !ok) return ok;
  own_trouble_ = true;
  open_bytes_ = std::exchange(connections_[id], hub.connections()) == hub.connections() ? kStreamBytes : kOpenBytes;
  site_->fetching(file.sha256);
  if (!bases.empty() && file.size_bytes >= kDeltaFrom) {
    auto done = by_delta(hub, id, file, bases, go_on);
    if (done || done.error().code == Code::kUnavailable || done.error().code == Code::kBusy) return done;
    // M3: never in silence.
    if (!config_.transfer_full_fallback) {
      return fail(done.error().code,
                  file.path + " does not come whole (transfer.full_fallback = false): " + done.error().message);
    }
    fallbacks_.add();
    log(LogLevel::kWarn, "models", "no delta: the file comes whole",
        {{"file", file.path}, {"bytes", file.size_bytes}, {"why", done.error().message}});
  }
  Conversation conversation(*this, Conversation::With::kHub, file, {}, go_on);
  bool unknown = false;
  auto got = converse(hub, id, conversation, &unknown);
  if (!got && unknown && conversation.writer() != nullptr)
    got = plain_download(hub, *conversation.writer(), file, go_on);
  if (!got) return got;
  return conversation.writer()->commit();
}

// `unknown` becomes true where the hub is of a build without fetches.
Result<void> ModelFetch::converse(NodeClient& from, const NodeId& id, Conversation& conversation, bool* unknown) {
  conversation.pace().begin();
  auto first = conversation.first();
  if (!first) return fail(first.error());
  if (conversation.all_here()) return {};  // all of it came before a kill
  auto got = from.fetch(
      std::move(*first), [&](std::optional<Bytes> came) { return conversation.turn(std::move(came)); }, unknown);
  site_->arrived(name_, version_, id, conversation.came_bytes());
  if (got) return got;
  own_trouble_ = conversation.ours();
  // A pause is what we make of our own budget: how long the hub is busy is no such thing.
  if (!own_trouble_) got = fail(got.error().code, got.error().message);
  *unknown = *unknown || (!conversation.heard() && got.error().code == Code::kInvalid);
  if (conversation.heard() && got.error().code == Code::kUnavailable) conversation.pace().on_break();
  return got;
}

Result<void> ModelFetch::by_delta(NodeClient& hub, const NodeId& id, const ManifestFile& file,
                                  const std::vector<Bytes>& bases, const GoOn& go_on) {
  Conversation conversation(
      *this, Conversation::With::kHub, file,
      {bases.begin(), bases.begin() + static_cast<std::ptrdiff_t>(std::min(bases.size(), kBasesMax))}, go_on);
  bool unknown = false;
  if (const auto got = converse(hub, id, conversation, &unknown); !got) return got;
  if (const auto whole = conversation.writer()->commit(); !whole) return whole;
  auto applied = apply(conversation.delta_sha256(), file);
  own_trouble_ = true;
  (void)blobs_.remove(conversation.delta_sha256());
  // There may be room for the file where there is none for the two of them.
  if (!applied && applied.error().code == Code::kBusy)
    return fail(Code::kInvalid, "no room for the file beside its delta: " + applied.error().message);
  return applied;
}

// M4: whatever the delta says, commit compares the hash. Bases are read, not mapped: a bad sector is an error here.
Result<void> ModelFetch::apply(BytesView delta_sha256, const ManifestFile& file) {
  const auto delta = blobs_.open_file(delta_sha256);
  if (!delta) return fail(delta.error());
  auto writer = blobs_.put_stream(file.sha256, file.size_bytes);
  if (!writer) return fail(writer.error());
  std::vector<Bytes> started_from;
  std::uint64_t here = (*writer)->offset();  // of an applying that a kill ended, or of the file itself: the same bytes
  DeltaApplier applier([&](const DeltaBase& base) { return delta_base(started_from.emplace_back(base.sha256)); },
                       [&](BytesView piece) -> Result<void> {
                         const std::uint64_t skip = std::min<std::uint64_t>(here, piece.size());
                         here -= skip;
                         return (*writer)->write(piece.substr(skip));
                       },
                       file.size_bytes);
  Result<void> done;
  for (std::uint64_t at = 0; done && at < delta->size_bytes(); at += kApplyBytes) {
    const auto piece = delta->read(at, std::min<std::uint64_t>(kApplyBytes, delta->size_bytes() - at));
    done = piece ? applier.feed(*piece) : Result<void>(fail(piece.error()));
  }
  if (done) done = applier.finish();
  if (done) done = (*writer)->commit();
  if (done || done.error().code != Code::kCorrupt) return done;
  (*writer)->discard();  // else the file itself would begin with it
  for (Bytes& base : started_from) {
    if (asks_.doubt) asks_.doubt(std::move(base));
  }
  return done;
}

// What cannot be read is as good as another file: kCorrupt, so that the file comes whole.
Result<DeltaBaseBytes> ModelFetch::delta_base(BytesView sha256) {
  const auto unread = [](const Error& why) {
    return fail(Code::kCorrupt, "the delta starts from a file that cannot be read: " + why.message);
  };
  auto opened = blobs_.open_file(sha256);
  if (!opened) return unread(opened.error());
  const auto from = std::make_shared<const BlobFile>(std::move(*opened));
  const auto read = [from, unread](std::uint64_t offset, std::size_t bytes, Bytes& room) -> Result<BytesView> {
    auto got = from->read(offset, bytes);
    if (!got) return unread(got.error());
    room = std::move(*got);
    return BytesView(room);
  };
  return DeltaBaseBytes(from->size_bytes(), read);
}

// From a hub of a build without fetches. What comes is kept whatever it cost; rate and budget end the download before
// more is read, and it goes on when they let it.
Result<void> ModelFetch::plain_download(NodeClient& hub, BlobStore::Writer& writer, const ManifestFile& file,
                                        const GoOn& go_on) {
  own_trouble_ = false;
  const auto take_chunk = [&](const Bytes& chunk) -> Result<void> {
    if (!go_on()) return fail(Code::kUnavailable, "interrupted: something more urgent came");
    downloaded_.add(chunk.size());
    full_bytes_.add(chunk.size());
    budget_.charge(clocks(), wire_bytes(chunk.size(), chunk.size()));
    if (const auto ok = store(); !ok) return ok;
    if (const auto ok = writer.write(chunk); !ok) return ok;
    const auto more = take(1);
    if (!more) return fail(more.error());
    if (more->bytes == 0 && writer.offset() < file.size_bytes) return fail(paused(*more, budget_.limits()));
    return {};
  };
  auto got = hub.download(
      encode(BlobDownload{file.sha256, writer.offset()}),
      [&](const Bytes& chunk) {
        auto taken = take_chunk(chunk);
        own_trouble_ = !taken;
        return taken;
      },
      kIdleTimeoutMs);
  if (got || own_trouble_) return got;
  return fail(got.error().code, got.error().message);
}

}  // namespace tidelock
