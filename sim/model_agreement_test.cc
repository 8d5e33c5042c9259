// The oracles' LedgerModel and the product's StateMachine are two tellings of one thing. On random ledgers they agree
// about every entry and every key; the only test that may see both.

#include <gtest/gtest.h>

#include <array>
#include <map>

#include "base/rng.h"
#include "codec/archive.h"
#include "protocol/admin.h"
#include "protocol/map_rows_fixture.h"
#include "protocol/state_machine.h"
#include "sim/oracle/ledger_model.h"
#include "sim/translate.h"

namespace tidelock::sim {
namespace {

// Ledgers full of repeats, old terms, aborts, failed conditions, holes in batch numbers, and short lives. Edges keep
// what their outbox promises: stamps that grow, numbers by incarnation.
class Writer {
 public:
  explicit Writer(std::uint64_t seed) : rng_(seed) {}

  Bytes next() {
    Command command;
    command.id = {1 + rng_.below(3), 1 + rng_.below(400)};
    command.term = rng_.one_in(8) ? Term{rng_.below(index_ + 1)} : term_;
    time_ += static_cast<Nanos>(rng_.below(20));
    command.ledger_time = rng_.one_in(10) ? time_ - static_cast<Nanos>(rng_.below(50)) : time_;
    ++index_;
    const std::uint64_t kind = rng_.below(100);
    if (index_ == 1 || kind < 3) {
      command.term = {};
      command.body = Claim{"hub-" + std::to_string(rng_.below(3)), Boot{1}};
      term_ = Term{index_};  // if its id is fresh; otherwise a few entries will be fenced
    } else if (index_ == 2 || kind < 4) {
      Seed seed;
      seed.namespaces = {
          {"cfg:", Consistency::kStrong, 0, 0, Scope::kRegion, WriteMode::kThrough},
          {"feat:", Consistency::kBounded, kSecond, kMillisecond, Scope::kRegion, WriteMode::kBehind, kSecond},
          Namespace{}};
      command.body = seed;
    } else if (kind < 20) {
      command.body = Beacon{};
    } else if (kind < 26) {
      command.body = Abort{{1 + rng_.below(3), rng_.below(400)}, {}};
    } else if (kind < 30) {
      command.body = RegisterEdge{edge(rng_.below(3)), "site"};
    } else if (kind < 31) {
      command.body = SetLease{rng_.one_in(2)};
    } else if (kind < 32) {
      return "not a command";
    } else if (kind < 36) {
      command.body = recall();
    } else if (kind < 40) {
      command.body = certify();
    } else if (kind < 65) {
      command.body = put();
    } else {
      command.body = batch();
    }
    return encode(command);
  }

 private:
  static NodeId edge(std::uint64_t number) { return "edge-" + std::to_string(number); }
  Bytes value() { return std::to_string(rng_.below(6)); }

  Put put() {
    Put put;
    const std::uint64_t keys = rng_.below(4);
    for (std::uint64_t i = 0; i < keys; ++i) {
      KeyWrite write;
      write.key = (rng_.one_in(2) ? "cfg:" : "k") + std::to_string(rng_.below(4));
      if (!rng_.one_in(5)) write.value = value();
      if (rng_.one_in(4)) {
        write = pointer();
        if (rng_.one_in(6)) write.value.reset();
      }
      if (rng_.one_in(3)) write.ttl_ns = static_cast<Nanos>(rng_.below(200)) - 2;
      write.keep_ttl = rng_.one_in(6);
      write.condition = static_cast<Condition>(rng_.one_in(2) ? 0 : rng_.below(6));
      write.expected = Index{rng_.one_in(3) ? 0 : rng_.below(index_ + 1)};
      put.writes.push_back(write);
    }
    return put;
  }

  // M7: three versions of two models, so that most of them are recalled before a ledger ends.
  std::string model() { return rng_.one_in(2) ? "detector" : "tracker"; }
  std::string version() { return "1.0." + std::to_string(rng_.below(3)); }
  KeyWrite pointer() {
    KeyWrite write;
    const ModelPointer to{version(), "digest", {}};
    const std::string name = model();
    write.key = rng_.one_in(2) ? model_current_key(name) : model_staged_key(name);
    write.value = encode(to);
    if (rng_.one_in(3)) {
      write.key = model_ring_key(name);
      write.value = encode(RingPointer{to, {}});
    }
    return write;
  }
  RecallVersion recall() {
    RecallVersion recall;
    recall.name = model();
    recall.version = rng_.one_in(9) ? "not a version" : version();
    if (rng_.one_in(9)) recall.reason.assign(kRecallReasonMax + 1, 'x');
    return recall;
  }
  CertifyRecall certify() {
    CertifyRecall certify;
    certify.certificate.name = model();
    certify.certificate.version = version();
    if (!rng_.one_in(3)) certify.put = put();
    for (const std::string& key :
         {model_current_key(certify.certificate.name), model_ring_key(certify.certificate.name),
          model_staged_key(certify.certificate.name)}) {
      if (rng_.one_in(3)) continue;
      KeyWrite write;
      write.key = key;
      certify.put.writes.push_back(write);
    }
    return certify;
  }

  Batch batch() {
    const std::uint64_t number = rng_.below(3);
    auto& next = numbers_[number];
    Batch batch;
    batch.edge = edge(number);
    batch.incarnation = 1 + rng_.below(2);
    const std::uint64_t due = ++next[batch.incarnation];
    batch.number = rng_.one_in(5) ? rng_.below(due + 2) : due;
    if (batch.number != due) --next[batch.incarnation];
    const std::uint64_t records = rng_.below(4);
    for (std::uint64_t i = 0; i < records; ++i) {
      BatchRecord record;
      record.key = (rng_.one_in(20) ? "cfg:" : "feat:") + std::to_string(rng_.below(4));
      if (!rng_.one_in(4)) record.value = value();
      // Time passes for all alike, give or take.
      stamps_[number] = std::max(stamps_[number] + 1, static_cast<std::uint64_t>(time_) + rng_.below(40));
      record.stamp = {stamps_[number], 0, number + 1};
      if (rng_.one_in(3)) record.ttl_ns = static_cast<Nanos>(rng_.below(200));
      batch.records.push_back(record);
    }
    return batch;
  }

  Rng rng_;
  std::uint64_t index_ = 0;
  Term term_;
  Nanos time_ = 1'000;
  std::map<std::uint64_t, std::map<std::uint64_t, std::uint64_t>> numbers_;
  std::map<std::uint64_t, std::uint64_t> stamps_;
};

TEST(ModelAgreement, TheProductAndTheOracleReadALedgerAlike) {  // A1, S1, S4, D5, M7
  std::uint64_t effective = 0, conflicts = 0, live = 0, perhaps = 0, certified = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Writer writer(seed);
    MapRows rows;
    StateMachine machine(rows);
    oracle::LedgerModel model;
    for (std::uint64_t i = 1; i <= 400; ++i) {
      const Bytes command = writer.next();
      StateBatch changed;
      const Applied applied = machine.apply(Index{i}, command, changed);
      rows.commit(changed);
      const auto entry = entry_of(command);
      const oracle::Effect effect = model.commit(Index{i}, entry ? &*entry : nullptr);
      ASSERT_EQ(applied.effective, effect.effective) << "seed " << seed << " index " << i << ": " << applied.message;
      ASSERT_EQ(applied.effective && applied.code == Code::kConflict, effect.conflict)
          << "seed " << seed << " index " << i;
      ASSERT_EQ(machine.ledger_time(), model.time()) << "seed " << seed << " index " << i;
      effective += effect.effective;
      conflicts += effect.conflict;
      ASSERT_EQ(machine.recalls().size(), model.recalls().size()) << "seed " << seed << " index " << i;
      for (const auto& [which, recall] : machine.recalls()) {
        const auto held = model.recalls().find(which.first + " " + which.second);
        ASSERT_NE(held, model.recalls().end()) << "seed " << seed << " index " << i;
        ASSERT_EQ(recall.certified, held->second) << "seed " << seed << " index " << i << " " << held->first;
        certified += recall.certified == Index{i};
      }
      for (const auto& [key, versions] : model.keys()) {
        if (versions.back().perhaps) {
          ++perhaps;
          continue;
        }
        const auto held = machine.find(key);
        const oracle::Version* version = model.live(key);
        ASSERT_EQ(held.has_value(), version != nullptr) << "seed " << seed << " index " << i << " '" << key << "'";
        if (version == nullptr) continue;
        ASSERT_EQ(held->value, version->value) << "seed " << seed << " index " << i << " '" << key << "'";
        ASSERT_EQ(held->version, version->index) << "seed " << seed << " index " << i << " '" << key << "'";
        ASSERT_EQ(held->expires_at, version->expires_at) << "seed " << seed << " index " << i << " '" << key << "'";
        ++live;
      }
    }
  }
  EXPECT_GT(effective, 5'000u);  // or this said nothing
  EXPECT_GT(conflicts, 200u);
  EXPECT_GT(live, 50'000u);
  EXPECT_GT(perhaps, 0u);
  EXPECT_GT(certified, 60u);
}

}  // namespace
}  // namespace tidelock::sim
