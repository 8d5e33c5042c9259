// One fetch is one conversation. The edge says up to which byte the hub may send; what it said and has not got is
// outstanding, and never more than the pace's window. Each time it says more, the budget is asked first.
#include "edge/model_fetch.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "edge/l2_store.h"
#include "protocol/admin.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr char kSpentRow[] = "transfer_spent";
constexpr int kConnectTimeoutMs = 3'000;
constexpr int kIdleTimeoutMs = 8'000;  // with bytes outstanding
constexpr int kLookMs = 250;           // how often `go_on` is asked while nothing comes
// What goes over the wire beside the bytes themselves, measured on loopback: a TLS handshake with both certificates and
// a new stream; each frame; each time more is asked for.
constexpr std::uint64_t kOpenBytes = 5'000;
constexpr std::uint64_t kFrameBytes = 48;
constexpr std::uint64_t kAskBytes = 64;
constexpr std::uint64_t kPieceBytesMin = 2'048;
constexpr std::uint64_t kPayloadLeast = 512;  // less is not worth asking for

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
  Conversation(ModelFetch& owner, BlobStore::Writer& writer, const ManifestFile& file, const GoOn& go_on)
      : owner_(owner),
        writer_(writer),
        file_(file),
        go_on_(go_on),
        asked_(writer.offset()),
        heard_at_(owner.clock_.now()) {}

  // The first frame; with what may be sent at once.
  Result<Bytes> first() {
    if (const auto ok = want(kOpenBytes); !ok) return fail(ok.error());
    return encode(FetchRequest{FetchBlob{file_.sha256}, more()});
  }

  Result<FetchTurn> turn(std::optional<Bytes> came) {
    if (!go_on_()) return fail(Code::kUnavailable, "interrupted: something more urgent came");
    const Nanos now = owner_.clock_.now();
    if (came) {
      heard_at_ = now;
      if (const auto ok = take(now, *came); !ok) return fail(ok.error());
    }
    FetchTurn turn;
    turn.done = writer_.offset() == writer_.size_bytes();
    if (turn.done) return turn;
    const std::uint64_t before = asked_;
    if (const auto ok = want(0); !ok && asked_ == writer_.offset()) return fail(ok.error());
    if (asked_ > before) {
      if (before == writer_.offset()) heard_at_ = now;  // nothing was due until now
      turn.say = encode(more());
    }
    Nanos wait = kLookMs * kMillisecond;
    if (asked_ > writer_.offset()) {
      const Nanos silent = saturating_sub(now, heard_at_);
      if (silent >= kIdleTimeoutMs * kMillisecond) {
        return fail(Code::kUnavailable, "nothing came for " + std::to_string(kIdleTimeoutMs) + " ms");
      }
    } else {
      wait = std::min(wait, rate_wait_ns_);
    }
    turn.wake_ms = to_ms(wait);
    return turn;
  }
  bool heard() const { return head_seen_; }

 private:
  struct Asked {
    std::uint64_t begin, end;
    Nanos at;
  };

  FetchMore more() const { return {start_, asked_, piece_}; }

  // Asks for more if pace and budget let it. An error is a pause, or the store's.
  Result<void> want(std::uint64_t beside) {
    rate_wait_ns_ = 0;
    owner_.learn_round_trip();
    const std::uint64_t window = owner_.pace_.window_bytes(), outstanding = asked_ - writer_.offset();
    // A piece is an eighth of the window at most: the wait for it shall tell of the queue, not of its own length.
    piece_ = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(owner_.pace_.piece_bytes(), std::max<std::uint64_t>(window / 8, kPieceBytesMin)));
    const std::uint64_t left = writer_.size_bytes() - asked_;
    const std::uint64_t step = std::max<std::uint64_t>(piece_, window / 4);  // saying more often costs more
    if (left == 0 || (outstanding > 0 && outstanding + std::min(step, left) > window)) return {};
    const std::uint64_t wanted = std::min(left, outstanding == 0 ? std::max<std::uint64_t>(window / 2, piece_) : step);
    const auto grant = owner_.take(beside + wire_bytes(wanted, piece_));
    if (!grant) return fail(grant.error());
    if (grant->why == TransferWait::kRate) {
      rate_wait_ns_ = grant->wait_ns;
      return {};
    }
    const std::uint64_t payload =
        grant->bytes > beside ? std::min(wanted, payload_of(grant->bytes - beside, piece_)) : 0;
    if (payload < std::min(wanted, kPayloadLeast)) {  // M3: the end of a budget; its last bytes are of no use
      const TransferGrant no = owner_.budget_.look(owner_.clocks());
      return fail(paused(no.why != TransferWait::kNone ? no : *grant, owner_.budget_.limits()));
    }
    under_way_.push_back({asked_, asked_ + payload, owner_.clock_.now()});
    asked_ += payload;
    return {};
  }

  Result<void> take(Nanos now, const Bytes& came) {
    if (!head_seen_) {
      const auto head = decode<FetchHead>(came, "head of a fetch");
      if (!head) return fail(head.error());
      if (head->sha256 != file_.sha256 || head->size_bytes != writer_.size_bytes()) {  // X2
        return fail(Code::kCorrupt,
                    file_.path + ": the hub offers " + std::to_string(head->size_bytes) + " bytes of another file");
      }
      head_seen_ = true;
      return {};
    }
    if (came.empty() || came.size() > asked_ - writer_.offset()) {
      return fail(Code::kCorrupt, file_.path + ": the hub sent " + std::to_string(came.size()) + " bytes, " +
                                      std::to_string(asked_ - writer_.offset()) + " were asked for");
    }
    std::optional<Asked> begins;  // this is the first piece of what was asked then
    while (!under_way_.empty() && writer_.offset() >= under_way_.front().begin) {
      begins = under_way_.front();
      under_way_.pop_front();
    }
    if (begins) {
      owner_.pace_.on_arrival(now, saturating_sub(now, begins->at), begins->end - begins->begin);
      owner_.window_bytes_.set(static_cast<double>(owner_.pace_.window_bytes()));
    }
    owner_.downloaded_.add(came.size());
    owner_.full_bytes_.add(came.size());
    return writer_.write(came);
  }

  ModelFetch& owner_;
  BlobStore::Writer& writer_;
  const ManifestFile& file_;
  const GoOn& go_on_;
  const std::uint64_t start_ = writer_.offset();
  std::uint64_t asked_;  // up to where
  std::uint32_t piece_ = 0;
  std::deque<Asked> under_way_;
  Nanos heard_at_;
  Nanos rate_wait_ns_ = 0;
  bool head_seen_ = false;
};

// ---- the fetch

ModelFetch::ModelFetch(const EdgeConfig& config, Kv& kv, const Clock& clock, Metrics& metrics, BlobStore& blobs,
                       const TransferSpent& spent)
    : config_(config),
      kv_(kv),
      clock_(clock),
      metrics_(metrics),
      blobs_(blobs),
      downloaded_(metrics.counter("tidelock_edge_model_bytes_total", "Bytes of model files fetched from hubs.")),
      full_bytes_(metrics.counter("tidelock_edge_transfer_bytes_total", "Bytes of model transfers, by how they came.",
                                  {{"kind", "full"}})),
      day_bytes_(metrics.gauge("tidelock_edge_transfer_day_bytes", "Charged to the transfer budget of this day, UTC.")),
      month_bytes_(
          metrics.gauge("tidelock_edge_transfer_month_bytes", "Charged to the transfer budget of this month, UTC.")),
      window_bytes_(metrics.gauge("tidelock_edge_transfer_window_bytes",
                                  "What a model transfer may have asked for and not got, so that the link's queue "
                                  "stays short.")),
      budget_(config.transfer, spent) {
  show();
}

ModelFetch::~ModelFetch() = default;

Result<std::unique_ptr<ModelFetch>> ModelFetch::open(const EdgeConfig& config, Kv& kv, const Clock& clock,
                                                     Metrics& metrics, BlobStore& blobs) {
  const auto row = kv.get(kMetaFamily, kSpentRow);
  if (!row) return fail(row.error());
  TransferSpent spent;
  if (*row) {
    // D2: a row that is damaged is not taken for an empty one: that would give a budget anew.
    const auto stored = decode<TransferSpent>(**row, "row of what transfers have spent");
    if (!stored) return fail(stored.error());
    spent = *stored;
  }
  return std::unique_ptr<ModelFetch>(new ModelFetch(config, kv, clock, metrics, blobs, spent));
}

TransferBudget::Time ModelFetch::clocks() const { return {clock_.now(), wall_ms_now()}; }

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

// Each hub holds published files or pulls them.
Result<void> ModelFetch::fetch(const NodeId& session_hub, const ManifestFile& file, const GoOn& go_on) {
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
    const auto done = from_hub(**hub, file, go_on);
    if (done) return {};
    last = done.error();
    if (last.code != Code::kBusy) continue;
    // Ours, not the hub's: another one helps as little.
    if (last.detail_ns > 0 || last.message.find("disk") != std::string::npos) break;
  }
  return fail(last);
}

Result<void> ModelFetch::from_hub(NodeClient& hub, const ManifestFile& file, const GoOn& go_on) {
  auto writer = blobs_.put_stream(file.sha256, file.size_bytes);
  if (!writer) return fail(writer.error());
  if ((*writer)->offset() < file.size_bytes) {
    if (const TransferGrant no = budget_.look(clocks()); no.why != TransferWait::kNone) {
      return fail(paused(no, budget_.limits()));
    }
    // Before anything is charged: a hub that cannot be reached costs nothing of a budget.
    if (const auto ok = hub.connect(kConnectTimeoutMs); !ok) return ok;
    pace_.begin();
    Conversation conversation(*this, **writer, file, go_on);
    auto first = conversation.first();
    if (!first) return fail(first.error());
    bool unknown = false;
    auto got = hub.fetch(
        std::move(*first), [&](std::optional<Bytes> came) { return conversation.turn(std::move(came)); }, &unknown);
    unknown = unknown || (!got && !conversation.heard() && got.error().code == Code::kInvalid);
    if (!got && unknown) got = plain_download(hub, **writer, file, go_on);
    if (!got) {
      if (conversation.heard() && got.error().code == Code::kUnavailable) pace_.on_break();
      return got;
    }
  }
  return (*writer)->commit();
}

// From a hub of a build without fetches. What comes is kept whatever it cost; rate and budget end the download before
// more is read, and it goes on when they let it.
Result<void> ModelFetch::plain_download(NodeClient& hub, BlobStore::Writer& writer, const ManifestFile& file,
                                        const GoOn& go_on) {
  return hub.download(
      encode(BlobDownload{file.sha256, writer.offset()}),
      [&](Bytes chunk) -> Result<void> {
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
      },
      kIdleTimeoutMs);
}

}  // namespace tidelock
