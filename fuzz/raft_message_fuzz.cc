// A peer that sends any bytes to a member of a Raft cluster, between its ticks, its disk and its own proposals. The
// member drops them, or says that it must stop; term, commit and applied index never fall, and entries come out once,
// in order.
#include "fuzz/fuzz.h"
#include "ledger/raft/raft_driver.h"

namespace tidelock::fuzz {
namespace {

enum Op : std::uint8_t { kReceive, kTick, kPersisted, kPropose, kSnapshot, kInstalled, kConfiguration, kOps };

const std::vector<RaftServer> kServers = {
    {1, "a", RaftRole::kVoter}, {2, "b", RaftRole::kVoter}, {3, "c", RaftRole::kVoter}};

RaftDriverSettings settings_of(std::uint64_t number) {
  RaftDriverSettings settings;
  settings.number = number;
  settings.address = std::string(1, static_cast<char>('a' + number - 1));
  settings.snapshot_threshold_entries = 4;
  settings.snapshot_trailing_entries = 2;
  return settings;
}

Bytes op(Op what, BytesView argument = {}) { return number(what, 1) + Bytes(argument); }
Bytes received(BytesView message) { return op(kReceive) + number(1, 1) + piece(message); }

// A message written by hand, in the archive's format: head, then the fields of one alternative.
template <class... Fields>
Bytes message_from(std::uint64_t from, std::uint64_t alternative, Fields... fields) {
  Encoder e;
  std::uint16_t version = 0;
  std::uint64_t to = 1;
  e(version, from, to, alternative, fields...);
  return e.take();
}
template <class... Fields>
Bytes message(std::uint64_t alternative, Fields... fields) {
  return message_from(2, alternative, fields...);
}

}  // namespace

std::vector<Seed> seeds() {
  using U = std::uint64_t;
  const std::uint16_t features = 1, capacity = 0;
  const RaftEntry command{2, RaftEntryType::kCommand, "payload"}, barrier{2, RaftEntryType::kBarrier, {}};
  const RaftEntry change{2, RaftEntryType::kChange, encode_configuration(kServers)};
  const Bytes vote = message(0, U{2}, U{1}, U{1}, false, false), pre_vote = message(0, U{2}, U{1}, U{1}, false, true);
  const Bytes granted = message(1, U{2}, true, false, features, capacity),
              pre_granted = message(1, U{2}, true, true, features, capacity);
  const Bytes append = message(2, U{2}, U{1}, U{1}, U{3}, std::vector<RaftEntry>{barrier, command});
  const Bytes later = message(2, U{2}, U{3}, U{2}, U{4}, std::vector<RaftEntry>{change});
  const Bytes rewrite =
      message(2, U{3}, U{2}, U{2}, U{2}, std::vector<RaftEntry>{{3, RaftEntryType::kCommand, "other"}});
  const Bytes acked = message(3, U{2}, U{0}, U{2}, features, capacity),
              rejected = message(3, U{2}, U{2}, U{1}, features, capacity);
  const Bytes install = message(4, U{2}, U{9}, U{2}, U{1}, encode_configuration(kServers));
  const Bytes now = message(5, U{2}, U{1}, U{1});
  const Bytes wait = op(kTick, number(250, 1)) + op(kTick, number(250, 1)) + op(kTick, number(250, 1));
  const Bytes lead = wait + received(pre_granted) + received(granted) + op(kPersisted);
  return {{"follow", received(vote) + op(kPersisted) + received(append) + op(kPersisted) + received(later) +
                         op(kPersisted) + op(kSnapshot, number(0, 1)) + wait},
          {"rewrite", received(append) + received(rewrite) + op(kPersisted) + received(append)},
          {"lead", lead + op(kPropose, piece("mine")) + op(kPersisted) + received(acked) + received(rejected) +
                       received(acked)},
          {"install", received(install) + op(kInstalled) +
                          received(message(2, U{2}, U{9}, U{2}, U{9}, std::vector<RaftEntry>{command}))},
          {"from_itself", op(kReceive) + number(0, 1) + piece(message_from(1, 0, U{2}, U{1}, U{1}, false, true))},
          {"elect", received(pre_vote) + received(now) + wait + received(vote)},
          {"configuration", op(kConfiguration, piece(encode_configuration(kServers)))}};
}

void run(BytesView input) {
  RaftDriver driver;
  RaftActions started;
  TIDELOCK_ASSERT(driver.start(settings_of(1), {}, kServers, 0, started));
  Nanos now = 0;
  std::uint64_t persist_no = started.persist_no, term = driver.term(), proposals = 0;
  Index commit, applied, handed_out;
  Input in(input);
  for (int steps = 0; steps < 100 && !in.empty(); ++steps) {
    RaftActions out;
    RaftEvent event{now, RaftTick{}};
    switch (in.byte() % kOps) {
      case kReceive: {
        const std::uint64_t from = 1 + in.byte() % 4;
        event.what = RaftReceived{from, Bytes(in.piece())};
        break;
      }
      case kTick:
        now += in.byte() * 2 * kMillisecond;
        event.now = now;
        break;
      case kPersisted: event.what = RaftPersisted{persist_no}; break;
      case kPropose: event.what = RaftProposed{{{CommandId{1, ++proposals}, Bytes(in.piece())}}}; break;
      case kSnapshot:
        event.what = RaftSnapshotTaken{
            Index{driver.applied().value - std::min<std::uint64_t>(in.byte(), driver.applied().value)}, "snap"};
        break;
      case kInstalled: continue;  // only when asked for, below
      case kConfiguration: {
        const BytesView bytes = in.piece();
        if (const auto servers = decode_configuration(bytes)) {
          TIDELOCK_ASSERT(!servers->empty() && *decode_configuration(encode_configuration(*servers)) == *servers);
          TIDELOCK_ASSERT(encode_configuration(*servers).starts_with(bytes.substr(0, bytes.size() / 8 * 8)));
        }
        continue;
      }
    }
    driver.step(std::move(event), out);
    if (out.failed) return;  // it says so, and stops (D3, D4)
    if (out.persist_no != 0) persist_no = out.persist_no;
    for (const LedgerEntry& entry : out.committed) {
      TIDELOCK_ASSERT(entry.index > handed_out);
      handed_out = entry.index;
    }
    TIDELOCK_ASSERT(driver.term() >= term && driver.commit_index() >= commit && driver.applied() >= applied);
    TIDELOCK_ASSERT(driver.applied() <= driver.commit_index());
    term = driver.term(), commit = driver.commit_index(), applied = driver.applied();
    for (const RaftSend& send : out.send) TIDELOCK_ASSERT(send.to != 1);
    if (out.install) {
      RaftActions installed;
      driver.step(RaftEvent{now, RaftSnapshotInstalled{}}, installed);
      if (installed.failed) return;
      handed_out = std::max(handed_out, Index{out.install->index});
    }
  }
}

}  // namespace tidelock::fuzz
