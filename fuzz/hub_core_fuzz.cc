// Edges and operators that say anything to a hub whose ledger commits, drops, and now and then holds a foreign entry.
// Session and number of a frame are mostly the right ones, so that the rules behind the door are reached. The hub never
// gives a proof without authority, answers each question once, and its own frames decode.
#include <map>
#include <set>

#include "codec/compress.h"
#include "fuzz/fuzz.h"
#include "protocol/hub_core.h"
#include "protocol/map_rows_fixture.h"

namespace tidelock::fuzz {
namespace {

enum Op : std::uint8_t { kTick, kConnect, kFrame, kClose, kAsk, kCommit, kDrop, kForeign, kLead, kDisrupted, kOps };
constexpr std::uint8_t kRaw = 0x80;

struct Conn {
  std::uint64_t session = 1, next_in = 1, next_out = 1;
};

class Bench {
 public:
  Bench() {
    HubOptions options;
    options.id = "hub-1";
    options.boot = Boot{11};
    options.seed.namespaces = default_namespaces();
    core.emplace(options, rows);
  }
  void step(decltype(HubEvent::what) what) {
    HubActions actions;
    core->step(HubEvent{now, std::move(what)}, actions);
    rows.commit(actions.rows);
    for (auto& append : actions.append) {
      TIDELOCK_ASSERT(decode_checked<Command>(append.command)->id == append.id);
      pending.push_back(std::move(append));
    }
    for (auto& send : actions.send) {
      const auto it = conns.find(send.conn.value);
      TIDELOCK_ASSERT(it != conns.end());  // nothing to whom was hung up on
      if (std::holds_alternative<Welcome>(send.frame.body)) it->second.session = send.frame.session.value;
      const bool farewell = std::holds_alternative<Goodbye>(send.frame.body);  // of a session that may not have begun
      TIDELOCK_ASSERT(send.frame.number == it->second.next_out++);             // F2
      TIDELOCK_ASSERT(farewell || send.frame.session.value == it->second.session);
      TIDELOCK_ASSERT(decode_checked<HubFrame>(encode(send.frame)));
      if (const auto* mark = std::get_if<Mark>(&send.frame.body);
          mark != nullptr && (mark->proof || mark->lease_ns > 0)) {
        TIDELOCK_ASSERT(mark->proof && core->has_authority(now));  // A3
        TIDELOCK_ASSERT(mark->lease_ns == 0 || core->latest_lease() >= saturating_add(now, mark->lease_ns));
      }
    }
    for (const auto& close : actions.close) conns.erase(close.conn.value);
    for (const auto& answer : actions.answers) TIDELOCK_ASSERT(asked.erase(answer.token.value) == 1);
  }

  MapRows rows;
  std::optional<HubCore> core;
  Nanos now = 1'000 * kSecond;
  std::uint64_t index = 0, last_conn = 0, last_token = 0;
  std::vector<HubActions::Append> pending;
  std::map<std::uint64_t, Conn> conns;
  std::set<std::uint64_t> asked;
};

void edge_says(Bench& bench, std::uint64_t conn, BytesView bytes, bool raw) {
  auto frame = decode_checked<EdgeFrame>(bytes);
  const auto it = bench.conns.find(conn);
  if (!frame || it == bench.conns.end()) return;
  if (!raw) {
    if (!std::holds_alternative<Hello>(frame->body)) frame->session.value = it->second.session;
    frame->number = it->second.next_in++;
    if (auto* batch = std::get_if<WriteBatch>(&frame->body)) batch->records = compress(batch->records);
  }
  bench.step(HubFrameIn{ConnId{conn}, std::move(*frame)});
}

}  // namespace

std::vector<Seed> seeds() {
  const auto op = [](std::uint8_t what, std::uint64_t argument, int bytes) {
    return number(what, 1) + number(argument, bytes);
  };
  const auto says = [](std::uint8_t conn, decltype(EdgeFrame::body) body) {
    return number(kFrame, 1) + number(conn, 1) + piece(encode(EdgeFrame{SessionNo{1}, 1, std::move(body)}));
  };
  const auto asks = [](decltype(AdminRequest::body) body) {
    return number(kAsk, 1) + piece(encode(AdminRequest{{77, 1}, std::move(body)}));
  };
  const Bytes commit = op(kCommit, 9, 1);
  const auto hello = [&](const char* edge) {
    return says(1, Hello{1, edge, "site", Boot{3}, {}, {}, {{"cam", "1.0.0"}}});
  };
  const Bytes lead = op(kLead, 1, 1) + commit + op(kTick, 4'000, 2) + commit;
  const Bytes open = lead + op(kConnect, 1, 1) + hello("edge-1") + commit;
  const Bytes probe = says(1, Probe{Nonce{1}, true, kSecond, true}) + commit;
  const KeyWrite strong{"model:cam:current@default", "p", 0, false, Condition::kNone, {}};
  const KeyWrite plain{"config:limit", "5", kSecond, false, Condition::kAbsent, {}};
  const std::vector<BatchRecord> records = {{"feature:a", "v", {1'700'000'000'000, 1, 5}, kSecond}};
  Command foreign;
  foreign.id = {99, 1};
  foreign.body = Claim{"hub-2", Boot{22}};
  return {
      {"probe", open + probe + says(1, Fetch{RequestNo{1}, {{"config:limit", {}}, {"feature:a", Index{3}}}}) + commit},
      {"through", open + probe + says(1, WriteThrough{RequestNo{2}, {3, 1}, {plain}}) + commit +
                      says(1, WriteThrough{RequestNo{3}, {3, 1}, {plain}}) + commit},
      {"strong", open + probe + asks(WriteKeys{{strong}}) + says(1, BlockAck{Term{1}, BlockNo{1}}) + commit +
                     asks(ReadKey{strong.key}) + commit},
      {"dead_edge", open + probe + asks(WriteKeys{{strong}}) + op(kClose, 1, 1) + op(kTick, 40'000, 2) + commit +
                        asks(RemoveEdgeRequest{"edge-1"}) + op(kTick, 40'000, 2) + commit},
      {"batch", open + probe + says(1, WriteBatch{7, 1, encode(records)}) + commit +
                    says(1, WriteBatch{7, 1, encode(records)}) + commit},
      {"models", open + probe + asks(StageModel{"cam", "1.0.0"}) + commit + asks(ActivateModel{"cam", "1.0.0"}) +
                     asks(RollbackModel{"cam"}) + asks(DescribeModels{}) + asks(DescribeCluster{}) + commit},
      {"publish",
       open + asks(PublishModel{"cam", "1.0.0", "manifest"}) + commit + says(1, Staged{{"cam", "1.0.0"}, ""})},
      {"deposed", open + probe + asks(WriteKeys{{plain}}) + op(kDrop, 0, 1) + number(kForeign, 1) +
                      piece(encode(foreign)) + op(kLead, 0, 1) + op(kLead, 1, 1) + commit},
      {"disrupted", open + probe + number(kDisrupted, 1) + commit + op(kTick, 500, 2) + commit},
      {"two", open + op(kConnect, 2, 1) + number(kFrame | kRaw, 1) + number(2, 1) +
                  piece(encode(EdgeFrame{SessionNo{9}, 1, Hello{1, "edge-2", "", Boot{4}, Term{1}, Index{2}, {}}})) +
                  commit}};
}

void run(BytesView input) {
  Bench bench;
  Input in(input);
  for (int steps = 0; steps < 200 && !in.empty(); ++steps) {
    const std::uint8_t what = in.byte();
    switch ((what & 0x7F) % kOps) {
      case kTick:
        bench.now += static_cast<Nanos>(in.number(2)) * kMillisecond;
        bench.step(HubTick{});
        break;
      case kConnect: {
        const std::string edge = "edge-" + std::to_string(in.byte() % 4);
        bench.conns[++bench.last_conn] = {};
        bench.step(HubConnected{ConnId{bench.last_conn}, edge});
        break;
      }
      case kFrame: {
        const std::uint64_t conn = in.byte();
        edge_says(bench, conn, in.piece(), (what & kRaw) != 0);
        break;
      }
      case kClose: {
        const std::uint64_t conn = in.byte();
        if (bench.conns.erase(conn) == 1) bench.step(HubDisconnected{ConnId{conn}});
        break;
      }
      case kAsk: {
        auto request = decode_checked<AdminRequest>(in.piece());
        if (!request) break;
        bench.asked.insert(++bench.last_token);
        bench.step(HubAsked{AskToken{bench.last_token}, std::move(*request)});
        break;
      }
      case kCommit:
        for (int left = in.byte(); left > 0 && !bench.pending.empty(); --left) {
          const Bytes command = std::move(bench.pending.front().command);
          bench.pending.erase(bench.pending.begin());
          bench.step(HubCommitted{Index{++bench.index}, command});
        }
        break;
      case kDrop: {
        const bool maybe = (in.byte() & 1) != 0;
        if (bench.pending.empty()) break;
        const CommandId id = bench.pending.front().id;
        bench.pending.erase(bench.pending.begin());
        bench.step(HubDropped{id, maybe ? Code::kMaybeApplied : Code::kNotActive});
        break;
      }
      case kForeign: bench.step(HubCommitted{Index{++bench.index}, Bytes(in.piece())}); break;
      case kLead: {
        const bool leading = (in.byte() & 1) != 0;
        bench.step(HubLeadership{leading, leading ? "hub-1" : "hub-2"});
        break;
      }
      case kDisrupted: bench.step(HubDisrupted{}); break;
    }
  }
}

}  // namespace tidelock::fuzz
