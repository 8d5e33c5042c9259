#include "sim/small_scope/search.h"

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "base/rng.h"
#include "sim/small_scope/world.h"

namespace tidelock::sim {
namespace {

struct Found {  // a state, by the last choice on the way to it
  std::uint32_t parent = 0;
  SmallWorld::Choice choice;
};

class Search {
 public:
  Search(const SmallScope& scope, const SmallLimits& limits) : root_(scope), limits_(limits) {}

  SmallReport run() {
    using Clock = std::chrono::steady_clock;
    const auto began = Clock::now();
    const auto stop = [&] {
      return report_.states >= limits_.states ||
             std::chrono::duration<double>(Clock::now() - began).count() >= limits_.seconds;
    };
    add(root_, 0, {});
    std::size_t level_ends = 1;  // breadth first: the states below it have fewer choices than those behind it
    for (std::size_t next = 0; next < found_.size() && report_.violation.empty(); ++next) {
      if (next == level_ends) {
        ++report_.depth;
        level_ends = found_.size();
      }
      if (report_.depth >= limits_.depth) {
        report_.depth_bound = true;
        break;
      }
      if (stop()) return report_;
      expand(static_cast<std::uint32_t>(next));
    }
    report_.exhausted = report_.violation.empty();
    return report_;
  }

 private:
  void expand(std::uint32_t state) {
    const SmallWorld world = replay(state);
    for (const SmallWorld::Choice choice : world.choices()) {
      SmallWorld next = world;
      next.take(choice);
      ++report_.transitions;
      if (add(next, state, choice)) report_.deepest = report_.depth + 1;
      if (!report_.violation.empty()) return;
    }
  }

  bool add(const SmallWorld& world, std::uint32_t parent, SmallWorld::Choice choice) {
    if (!world.violation().empty()) {
      report_.violation = world.violation();
      tell(parent, choice);
      return false;
    }
    const auto [before, fresh] = seen_.try_emplace(world.key(), static_cast<std::uint32_t>(found_.size()));
    if (!fresh) {
      if (++report_.merged % limits_.compare_every == 0) compare(before->second, parent, choice);
      return false;
    }
    found_.push_back({parent, choice});
    ++report_.states;
    report_.reads += world.reads();
    report_.commits += world.commits();
    report_.acknowledged += world.acknowledged();
    return true;
  }

  // Two ways to one key: whatever comes next must be the same behind both, and lead to equal keys again.
  void compare(std::uint32_t state, std::uint32_t parent, SmallWorld::Choice last) {
    ++report_.compared;
    SmallWorld a = replay(state), b = replay(parent);
    b.take(last);
    Rng rng(report_.compared);
    for (int steps = 0;; ++steps) {
      const std::vector<SmallWorld::Choice> choices = a.choices();
      if (choices != b.choices() || a.key() != b.key() || a.violation() != b.violation()) {
        report_.violation = "key: states that differ were taken for one, seen " + std::to_string(steps) + " choices on";
        return tell(parent, last);
      }
      if (choices.empty() || steps == kComparedChoices) return;
      const SmallWorld::Choice next = choices[rng.below(choices.size())];
      a.take(next), b.take(next);
    }
  }

  std::vector<SmallWorld::Choice> path(std::uint32_t state) const {
    std::vector<SmallWorld::Choice> path;
    for (; state != 0; state = found_[state].parent) path.push_back(found_[state].choice);
    std::reverse(path.begin(), path.end());
    return path;
  }
  SmallWorld replay(std::uint32_t state) const {
    SmallWorld world = root_;
    for (const SmallWorld::Choice choice : path(state)) world.take(choice);
    return world;
  }
  void tell(std::uint32_t state, SmallWorld::Choice last) {
    if (found_.empty()) return;  // at the root
    SmallWorld world = root_;
    std::vector<SmallWorld::Choice> all = path(state);
    all.push_back(last);
    for (const SmallWorld::Choice choice : all) {
      report_.story.push_back(world.describe(choice));
      world.take(choice);
    }
  }

  static constexpr int kComparedChoices = 24;

  const SmallWorld root_;
  const SmallLimits limits_;
  SmallReport report_;
  std::vector<Found> found_;
  std::unordered_map<std::uint64_t, std::uint32_t> seen_;  // key -> its place in found_
};

}  // namespace

SmallReport search_small_scope(const SmallScope& scope, const SmallLimits& limits) {
  return Search(scope, limits).run();
}

}  // namespace tidelock::sim
