// F9: how often an edge probes follows what its readers ask for, and nothing else.

#include <gtest/gtest.h>

#include "protocol/edge_core.h"
#include "protocol/map_memory_fixture.h"

namespace tidelock {
namespace {

class NoStore : public EdgeStore {
 public:
  std::optional<EdgeEntry> find(std::string_view) const override { return std::nullopt; }
};

// An edge with an open session whose hub answers each probe at once.
class Bench {
 public:
  Bench() : core_(options(), memory_, store_, *Outbox::restore({}, {}, now, 1, Rng(1)), Rng(2)) {
    step(EdgeTick{});
    step(EdgeLinkUp{link_});
    Welcome welcome;
    welcome.hub = "hub-1";
    welcome.hub_boot = Boot{9};
    welcome.term = Term{1};
    welcome.h0 = Index{1};
    welcome.namespaces = default_namespaces();
    answer(welcome);
  }

  void step(decltype(EdgeEvent::what) what) {
    EdgeActions actions;
    core_.step(EdgeEvent{now, std::move(what)}, actions);
    wake_at = actions.wake_at;
    for (const auto& op : actions.ops) {
      if (const auto* open = std::get_if<LinkOpen>(&op)) link_ = open->link;
      const auto* sent = std::get_if<LinkSend>(&op);
      if (sent == nullptr) continue;
      if (const auto* probe = std::get_if<Probe>(&sent->frame.body)) unanswered_.push_back(probe->nonce);
    }
    while (!unanswered_.empty()) {
      const Nonce nonce = unanswered_.back();
      unanswered_.pop_back();
      ++probes;
      answer(Mark{nonce, Index{1}, true, 30 * kSecond, now, 0});
    }
  }
  // Steps whenever the core asks to be woken.
  int probes_within(Nanos duration) {
    probes = 0;
    const Nanos until = now + duration;
    while (wake_at < until) {
      now = std::max(now + 1, wake_at);
      step(EdgeTick{});
    }
    now = until;
    return probes;
  }
  void read(Nanos bound_ns) {
    Contract contract;
    contract.bound_ns = bound_ns;
    contract.deadline_ns = 0;
    step(EdgeRead{ReadToken{++token_}, "feature:x", contract});
  }

  Nanos now = 1'000 * kSecond;
  Nanos wake_at = 0;
  int probes = 0;

 private:
  static EdgeOptions options() {
    EdgeOptions options;
    options.id = "edge-1";
    options.site = "s";
    options.boot = Boot{7};
    return options;
  }
  void answer(decltype(HubFrame::body) body) {
    step(EdgeFrameIn{link_, HubFrame{SessionNo{1}, ++number_, std::move(body)}});
  }

  MapMemory memory_;
  NoStore store_;
  EdgeCore core_;
  LinkNo link_;
  std::uint64_t number_ = 0, token_ = 0;
  std::vector<Nonce> unanswered_;
};

TEST(F9, AnIdleEdgeOnlyRenewsItsLease) {
  Bench bench;
  const int probes = bench.probes_within(150 * kSecond);  // a lease of 30 s is renewed at half of it
  EXPECT_GE(probes, 9);
  EXPECT_LE(probes, 12);
}

TEST(F9, TheTightestBoundOfTheLastMinuteSetsTheRate) {
  struct Case {
    const char* why;
    Nanos bound;
    int least, most;  // probes in 30 s: three per bound
  };
  const Case cases[] = {{"a third of 5 s", 5 * kSecond, 17, 20},
                        {"a third of 1.5 s", 1'500 * kMillisecond, 58, 62},
                        {"below the namespace's floor counts as the floor, 0.5 s", 10 * kMillisecond, 176, 184}};
  for (const Case& c : cases) {
    Bench bench;
    bench.read(c.bound);
    const int probes = bench.probes_within(30 * kSecond);
    EXPECT_GE(probes, c.least) << c.why;
    EXPECT_LE(probes, c.most) << c.why;
  }
}

TEST(F9, ADemandIsForgottenWhenNobodyRepeatsIt) {
  Bench bench;
  bench.read(500 * kMillisecond);
  bench.probes_within(130 * kSecond);
  bench.read(60 * kSecond);  // a lax reader comes: the tight one is two minutes old
  bench.probes_within(10 * kSecond);
  EXPECT_LE(bench.probes_within(60 * kSecond), 6);
}

}  // namespace
}  // namespace tidelock
