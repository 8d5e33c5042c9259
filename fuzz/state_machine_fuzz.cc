// A ledger of any bytes. Two machines apply it: one lives through it all, the other is made anew from its rows before
// each entry, as after a kill. They must say and store the same, bit for bit, or hubs would differ after a restart.
#include <map>

#include "fuzz/fuzz.h"
#include "protocol/map_rows_fixture.h"
#include "protocol/state_machine.h"

namespace tidelock::fuzz {
namespace {

Bytes command(std::uint64_t sequence, std::uint64_t term, decltype(Command::body) body, Nanos time = kSecond) {
  return piece(encode(Command{{5, sequence}, Term{term}, time, std::move(body)}));
}

}  // namespace

std::vector<Seed> seeds() {
  const Stamp stamp{1'700'000'000'000, 3, 99};
  const Bytes begin =
      command(1, 0, Claim{"hub-1", Boot{5}}) + command(2, 1, tidelock::Seed{{}, default_namespaces(), "key"});
  const Bytes edge = command(3, 1, RegisterEdge{"e", "s"});
  return {
      {"puts", begin + command(4, 1, Put{{{"a", "1", kSecond, false, Condition::kAbsent, {}}}, {}}) +
                   command(5, 1,
                           Put{{{"a", "2", 0, true, Condition::kVersionIs, Index{3}},
                                {"b", std::nullopt, 0, false, Condition::kNone, {}}},
                               {}}) +
                   command(6, 1, Beacon{}, 3 * kSecond)},
      {"batches", begin + edge + command(4, 1, Batch{"e", 7, 1, {{"feature:a", "v", stamp, kSecond}}}) +
                      command(5, 1, Batch{"e", 7, 2, {{"feature:a", std::nullopt, {stamp.wall_ms + 1, 0, 99}, 0}}}) +
                      command(6, 1, Beacon{}, 9 * kSecond)},
      {"abort", begin + command(4, 1, Abort{{5, 9}, BlockNo{1}}) +
                    command(9, 1, Put{{{"a", "1", 0, false, Condition::kNone, {}}}, BlockNo{1}})},
      {"terms",
       begin + command(4, 0, Claim{"hub-2", Boot{6}}) + command(5, 1, Beacon{}) + command(6, 3, SetLease{false})},
      {"edges", begin + edge + command(4, 1, RemoveEdge{"e"}) + command(4, 1, RemoveEdge{"e"}) + piece("nonsense")}};
}

void run(BytesView input) {
  MapRows kept, restarted;
  StateMachine steady(kept);
  Input in(input);
  Index index;
  for (int entries = 0; entries < 64 && !in.empty(); ++entries) {
    const BytesView bytes = in.piece();
    (void)decode_checked<Command>(bytes);
    index.value += 1 + (bytes.size() % 3 == 0);  // engines skip indexes
    StateBatch one, two;
    const Applied applied = steady.apply(index, bytes, one);
    StateMachine anew(restarted);
    const Applied again = anew.apply(index, bytes, two);
    TIDELOCK_ASSERT(one.rows == two.rows);
    TIDELOCK_ASSERT(applied.effective == again.effective && applied.code == again.code &&
                    applied.message == again.message);
    TIDELOCK_ASSERT(applied.effective || applied.changed.empty());
    for (const ChangedValue& changed : applied.changed) TIDELOCK_ASSERT(changed.now.version == index);
    const Nanos time = steady.ledger_time();
    kept.commit(one);
    restarted.commit(two);
    TIDELOCK_ASSERT(steady.applied() == index && time == anew.ledger_time() && steady.term() == anew.term());
    if (steady.seeded())
      TIDELOCK_ASSERT(validate_namespaces(steady.namespaces()) && validate_settings(steady.settings()));
    if (applied.effective && !std::holds_alternative<Beacon>(applied.command.body)) {  // A1: it counts once
      StateBatch none;
      const Applied repeated = steady.apply({index.value + 1}, bytes, none);
      TIDELOCK_ASSERT(!repeated.effective);
      index.value += 1;
      kept.commit(none);
      restarted.commit(none);
    }
  }
}

}  // namespace tidelock::fuzz
