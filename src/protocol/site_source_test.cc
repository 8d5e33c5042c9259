// M3: each byte crosses the wide-area link once for a site, and nobody waits for ever.
#include "protocol/site_source.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <set>

#include "base/rng.h"

namespace tidelock {
namespace {

using Step = SiteSource::Step;
using Why = SiteSource::Why;
using Failure = SiteSource::Failure;
const Bytes kFile(32, 'f');
constexpr std::uint64_t kSize = 8'192 * 100;
const std::vector<NodeId> kSite{"edge-1", "edge-2", "edge-3", "edge-4"};
const SiteTimes kTimes;

SiteTell nothing() { return {SiteState::kNothing, 0}; }
SiteTell fetching(std::uint64_t progress) { return {SiteState::kFetching, progress}; }
SiteTell has() { return {SiteState::kHas, 0}; }
SiteTell paused() { return {SiteState::kPaused, 0}; }

// The site as one gateway sees it: what its neighbours say when they are asked; those that are not here are silent.
class View {
 public:
  View(const NodeId& self, const std::vector<NodeId>& serving = kSite)
      : source_(self, kFile, kSize, serving, now_), order_(source_.order()) {
    std::erase(order_, self);
  }
  // Answers questions and lets time go until there is something to do, or `until`.
  SiteSource::Next settle(Nanos until = kForever) {
    for (int i = 0; i < 100'000; ++i) {
      const auto next = source_.next(now_);
      if (next.step == Step::kAsk) {
        asked_[next.from]++;
        const auto said = says_.find(next.from);
        if (said == says_.end())
          source_.silent(now_, next.from);
        else
          source_.told(now_, next.from, said->second);
        continue;
      }
      if (next.step != Step::kWait || saturating_add(now_, next.wait_ns) > until) return next;
      EXPECT_GT(next.wait_ns, 0);
      now_ += next.wait_ns;
      if (each_turn_) each_turn_();
    }
    ADD_FAILURE() << "it never settles";
    return {};
  }
  // Elected after self: the first, second, ... of the others.
  const NodeId& other(std::size_t place) const { return order_[place]; }

  Nanos now_ = 1'000 * kSecond;
  std::map<NodeId, SiteTell> says_;
  std::map<NodeId, int> asked_;
  std::function<void()> each_turn_;
  SiteSource source_;
  std::vector<NodeId> order_;
};

NodeId first() { return SiteSource("edge-1", kFile, kSize, kSite, 0).order().front(); }
NodeId last() { return SiteSource("edge-1", kFile, kSize, kSite, 0).order().back(); }

TEST(SiteSource, AllOfASiteElectTheSameOne) {
  const auto order = SiteSource("edge-1", kFile, kSize, kSite, 0).order();
  EXPECT_EQ(std::set<NodeId>(order.begin(), order.end()), std::set<NodeId>(kSite.begin(), kSite.end()));
  for (const NodeId& self : kSite) {
    EXPECT_EQ(SiteSource(self, kFile, kSize, {"edge-4", "edge-2", "edge-3", "edge-1", "edge-1"}, 0).order(), order)
        << "whatever order the hub names them in, and each once";
  }
  std::set<NodeId> elected;
  for (char c = 'a'; c < 'z'; ++c) elected.insert(SiteSource("edge-1", Bytes(32, c), kSize, kSite, 0).order().front());
  EXPECT_EQ(elected.size(), kSite.size()) << "the files of a release are spread over the site";
}

TEST(SiteSource, TheElectedGoesToTheHubAtOnceAndTheOthersWait) {
  View elected(first());
  for (const NodeId& id : kSite) elected.says_[id] = nothing();
  const auto hub = elected.settle();
  EXPECT_EQ(hub.step, Step::kHub);
  EXPECT_EQ(hub.why, Why::kElected);
  EXPECT_EQ(elected.now_, 1'000 * kSecond) << "it waits for nobody";

  View other(last());
  for (const NodeId& id : kSite) other.says_[id] = nothing();
  std::uint64_t progress = 0;
  other.each_turn_ = [&] { other.says_[first()] = ++progress < 200 ? fetching(progress) : has(); };
  const auto taken = other.settle();
  EXPECT_EQ(taken.step, Step::kTake);
  EXPECT_EQ(taken.from, first());
  EXPECT_LE(other.asked_[other.other(1)], 20) << "who is not waited for is asked now and then";
}

TEST(SiteSource, WhoHasItGivesItWhoeverIsElected) {
  View view(first());
  view.says_[view.other(2)] = has();
  EXPECT_EQ(view.settle().from, view.other(2));
  EXPECT_EQ(view.source_.next(view.now_).step, Step::kTake);
}

TEST(SiteSource, NobodyWaitsForOneThatCannot) {  // and the next in the order is elected
  struct Case {
    const char* why;
    std::optional<SiteTell> first;  // none: no answer
    Nanos waits_ns;
  };
  const Case cases[] = {{"it cannot be reached", std::nullopt, 0},
                        {"its budget is spent", paused(), 0},
                        {"it does not begin", nothing(), kTimes.begin_ns},
                        {"it gets no further", fetching(7), kTimes.stall_ns}};
  const auto order = SiteSource("edge-1", kFile, kSize, kSite, 0).order();
  for (const Case& c : cases) {
    View second(order[1]);
    View third(order[2]);
    for (View* view : {&second, &third}) {
      view->says_ = {{order[0], nothing()}, {order[1], nothing()}, {order[2], nothing()}, {order[3], nothing()}};
      view->says_.erase(order[0]);
      if (c.first) view->says_[order[0]] = *c.first;
    }
    const Nanos began = second.now_;
    const auto hub = second.settle();
    EXPECT_EQ(hub.step, Step::kHub) << c.why;
    EXPECT_EQ(hub.why, Why::kElected) << c.why;
    EXPECT_GE(second.now_ - began, c.waits_ns) << c.why;
    EXPECT_LE(second.now_ - began, c.waits_ns + kTimes.poll_ns) << c.why;
    // The third now waits for the second, not for itself.
    third.each_turn_ = [&] {
      if (third.now_ - began > c.waits_ns + kTimes.poll_ns) third.says_[order[1]] = has();
    };
    const auto taken = third.settle();
    EXPECT_EQ(taken.step, Step::kTake) << c.why;
    EXPECT_EQ(taken.from, order[1]) << c.why;
  }
}

TEST(SiteSource, WhoFetchesIsWaitedForThoughAnotherIsElected) {
  View view(first());
  for (const NodeId& id : kSite) view.says_[id] = nothing();
  view.says_[view.other(1)] = fetching(1);
  const auto waits = view.settle(view.now_ + kSecond);
  EXPECT_EQ(waits.step, Step::kWait) << "the bytes are on their way already";
  EXPECT_EQ(waits.from, view.other(1));
}

TEST(SiteSource, AHolderThatIsBusyOrBreaksIsAskedAgainAndOneThatLiesIsNot) {
  View view(last());
  view.says_[first()] = has();
  ASSERT_EQ(view.settle().step, Step::kTake);
  view.source_.failed(view.now_, first(), Failure::kBusy);
  const Nanos at = view.now_;
  ASSERT_EQ(view.settle().step, Step::kTake);
  EXPECT_EQ(view.now_ - at, kTimes.retry_ns);
  for (int i = 0; i < 1'000; ++i) {
    view.source_.failed(view.now_, first(), Failure::kBusy);
    if (view.settle().step != Step::kTake) break;
  }
  EXPECT_GE(view.now_ - at, view.source_.patience_ns() - kTimes.retry_ns) << "busy for as long as there is patience";

  View breaks(last());
  breaks.says_[first()] = has();
  for (int i = 0; i < SiteSource::kBrokeMax; ++i) {
    ASSERT_EQ(breaks.settle().step, Step::kTake) << i;
    breaks.source_.failed(breaks.now_, first(), Failure::kBroke);
  }
  EXPECT_EQ(breaks.settle().step, Step::kHub);

  View lied(last());
  lied.says_[first()] = has();
  ASSERT_EQ(lied.settle().step, Step::kTake);
  lied.source_.failed(lied.now_, first(), Failure::kWrong);
  const auto hub = lied.settle();
  EXPECT_EQ(hub.step, Step::kHub);
  EXPECT_EQ(lied.asked_[first()], 1) << "it is not asked again";
}

TEST(SiteSource, AGatewayThatServesNobodyWaitsAndIsNeverElected) {
  View view("edge-9");
  for (const NodeId& id : kSite) view.says_[id] = nothing();
  const auto waits = view.settle(view.now_ + kSecond);
  EXPECT_EQ(waits.step, Step::kWait);
  EXPECT_EQ(waits.from, first());
  const auto hub = view.settle();  // none of them ever begins
  EXPECT_EQ(hub.step, Step::kHub);
  EXPECT_EQ(hub.why, Why::kNobody);
  EXPECT_LE(view.now_, 1'000 * kSecond + 5 * kTimes.begin_ns);
  View alone("edge-1", {});
  EXPECT_EQ(alone.settle().step, Step::kHub);
  EXPECT_EQ(alone.now_, 1'000 * kSecond);
}

TEST(SiteSource, OfALargeSiteTheFirstOfTheOrderCount) {
  std::vector<NodeId> many;
  for (int i = 0; i < 200; ++i) many.push_back("gateway-" + std::to_string(i));
  EXPECT_EQ(SiteSource("edge-1", kFile, kSize, many, 0).order().size(), SiteSource::kCandidatesMax);
  EXPECT_EQ(SiteSource("edge-1", kFile, kSize, many, 0).order(), SiteSource("edge-2", kFile, kSize, many, 0).order());
}

// Whatever neighbours say and however they fail, it ends, within the patience and one turn.
TEST(SiteSource, NothingThatNeighboursSayHoldsAGatewayForEver) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    View view(kSite[rng.below(4)]);
    const bool slow = rng.below(2) == 0;
    const Nanos began = view.now_;
    view.each_turn_ = [&] {
      for (const NodeId& id : kSite) {
        switch (rng.below(slow ? 2 : 6)) {
          case 0: view.says_[id] = fetching(rng.below(1'000)); break;
          case 1: break;
          case 2: view.says_[id] = nothing(); break;
          case 3: view.says_[id] = has(); break;
          case 4: view.says_[id] = paused(); break;
          default: view.says_.erase(id);
        }
      }
    };
    view.each_turn_();
    auto next = view.settle();
    while (next.step != Step::kHub) {
      ASSERT_EQ(next.step, Step::kTake) << "seed " << seed;
      view.now_ += static_cast<Nanos>(rng.below(5)) * kSecond;
      view.source_.failed(view.now_, next.from, rng.below(20) == 0 ? Failure::kWrong : Failure::kBusy);
      next = view.settle();
    }
    ASSERT_LE(view.now_ - began, view.source_.patience_ns() + 5 * kSecond) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tidelock
