// What a rollout will cost: bytes, and when each wave is done (M5). A gateway is judged by others of its kind.

#include <algorithm>
#include <map>
#include <utility>

#include "protocol/rollout.h"

namespace tidelock {
namespace {

// Gateways that give each other the files: those of one site. One without a site is alone.
using Sites = std::map<std::pair<std::string_view, std::string_view>, std::vector<const FleetEdge*>>;

Sites sites_of(const Fleet& fleet) {
  Sites sites;
  for (const FleetEdge& edge : fleet)
    sites[{edge.site, edge.site.empty() ? std::string_view(edge.edge) : std::string_view()}].push_back(&edge);
  return sites;
}

// Of one version: what those of a site that have it took from hubs.
struct Taken {
  std::size_t edges = 0;
  std::uint64_t sum = 0, most = 0;
  void add(std::uint64_t bytes) {
    ++edges;
    sum += bytes;
    most = std::max(most, bytes);
  }
  // One of them paid for all, or each for some of the files. Nothing is known of fewer than two, nor where nothing
  // came.
  bool tells() const { return edges > 1 && sum > 0; }
  bool shared() const { return sum < most + most / 2; }
};
Taken taken(const std::vector<const FleetEdge*>& site) {
  Taken list;
  for (const FleetEdge* edge : site) {
    if (edge->staged && edge->health != nullptr) list.add(edge->health->fetched_bytes);
  }
  return list;
}
Taken taken_before(const std::vector<const FleetEdge*>& site) {
  Taken list;
  for (const FleetEdge* edge : site) {
    if (edge->in_force != nullptr && edge->in_force->in_force) list.add(edge->in_force->fetched_bytes);
  }
  return list;
}

bool shares(const std::vector<const FleetEdge*>& site) {
  if (const Taken now = taken(site); now.tells()) return now.shared();
  if (const Taken before = taken_before(site); before.tells()) return before.shared();
  return site.size() > 1;
}

// Of what whoever asks the hubs takes: one of a site that shares, each of another.
std::vector<std::uint64_t> payments(const Sites& sites, bool before) {
  std::vector<std::uint64_t> list;
  for (const auto& [where, site] : sites) {
    if (shares(site)) {
      list.push_back(before ? taken_before(site).sum : taken(site).sum);
      continue;
    }
    for (const FleetEdge* edge : site) list.push_back(before ? taken_before({edge}).sum : taken({edge}).sum);
  }
  std::erase(list, 0);  // it has none, or it has it from a stick, or from before it started
  std::sort(list.begin(), list.end());
  return list;
}

std::uint64_t share_of(std::uint64_t bytes, double part, double whole) {
  return whole <= 0 ? bytes : static_cast<std::uint64_t>(static_cast<double>(bytes) * std::min(1.0, part / whole));
}

// What one that asks the hubs will take in all.
std::uint64_t payment(const Sites& sites, const Fleet& fleet, const TransferCost& cost) {
  if (const auto now = payments(sites, false); !now.empty()) return now[now.size() / 2];
  if (cost.last != nullptr && cost.last->bytes > 0) {
    double edges = 0, bytes = 0, payers = 0;
    for (const WaveRecord& wave : cost.last->waves) {
      edges += wave.edges;
      bytes += static_cast<double>(wave.bytes);
    }
    // One that was only planned took the place of the one before it: what it foresaw says what that one took.
    for (const WaveForecast& wave : cost.last->forecast) {
      if (cost.last->phase != RolloutPhase::kPlanned) break;
      edges += wave.edges;
      bytes += static_cast<double>(wave.bytes);
    }
    for (const auto& [where, site] : sites) payers += shares(site) ? 1.0 : static_cast<double>(site.size());
    const double paid = edges * payers / static_cast<double>(fleet.size());
    if (bytes > 0 && paid > 0) return share_of(cost.bytes, bytes / paid, static_cast<double>(cost.last->bytes));
  }
  if (const auto before = payments(sites, true); !before.empty() && cost.before_bytes > 0)
    return share_of(cost.bytes, static_cast<double>(before[before.size() / 2]), static_cast<double>(cost.before_bytes));
  return cost.bytes;
}

struct Need {
  std::uint64_t expected = 0;  // in all
  std::uint64_t on_link = 0;   // still to come before it has the file: through its own link, or a neighbour's
};
std::map<const FleetEdge*, Need> needs(const Fleet& fleet, const TransferCost& cost) {
  std::map<const FleetEdge*, Need> list;
  const Sites sites = sites_of(fleet);
  const std::uint64_t each = payment(sites, fleet, cost);
  for (const auto& [where, site] : sites) {
    const bool shared = shares(site);
    std::uint64_t paid = 0;  // by anybody
    std::size_t waiting = 0;
    bool here = false;
    for (const FleetEdge* edge : site) {
      paid += edge->health == nullptr ? 0 : edge->health->fetched_bytes;
      waiting += edge->reachable && !edge->staged;
      here = here || (edge->reachable && edge->staged);
    }
    for (const FleetEdge* edge : site) {
      Need& need = list[edge];
      need.expected = edge->health == nullptr ? 0 : edge->health->fetched_bytes;
      if (edge->staged || (shared && here)) continue;
      const std::uint64_t done = shared ? paid : need.expected;
      need.on_link = each > done ? each - done : 0;
      need.expected += edge->reachable && shared ? need.on_link / waiting : need.on_link;
    }
  }
  return list;
}

}  // namespace

bool wave_names(const RolloutWave& wave, const FleetEdge& edge) {
  if (wave.size != RolloutWave::Size::kLabel) return true;
  return edge.labels != nullptr &&
         std::find(edge.labels->begin(), edge.labels->end(), std::pair{wave.key, wave.value}) != edge.labels->end();
}

std::size_t wave_goal(const RolloutWave& wave, std::size_t members, std::size_t matching, std::size_t registered) {
  switch (wave.size) {
    case RolloutWave::Size::kCount: return wave.amount;
    case RolloutWave::Size::kShare: return (registered * wave.amount + 99) / 100;
    case RolloutWave::Size::kLabel: return members + matching;
  }
  return 0;
}

std::vector<std::uint64_t> expected_fetches(const Fleet& fleet, const TransferCost& cost) {
  const auto known = needs(fleet, cost);
  std::vector<std::uint64_t> list;
  list.reserve(fleet.size());
  for (const FleetEdge& edge : fleet) list.push_back(known.at(&edge).expected);
  return list;
}

std::vector<WaveForecast> forecast_waves(const RolloutPlan& plan, const Fleet& fleet, const TransferCost& cost) {
  std::vector<std::uint64_t> rates;
  for (const FleetEdge& edge : fleet) {
    if (edge.link_bytes_per_s > 0) rates.push_back(edge.link_bytes_per_s);
  }
  std::sort(rates.begin(), rates.end());
  const std::uint64_t median = rates.empty() ? 0 : rates[rates.size() / 2];
  struct Ready {
    const FleetEdge* edge;
    Need need;
    Nanos after;
    bool operator<(const Ready& other) const {
      return std::pair{after, edge->edge} < std::pair{other.after, other.edge->edge};
    }
  };
  const auto known = needs(fleet, cost);
  std::vector<Ready> left;  // whoever can be reached now: nobody knows when the others return
  for (const FleetEdge& edge : fleet) {
    if (!edge.reachable) continue;
    const Need& need = known.at(&edge);
    const std::uint64_t rate = edge.link_bytes_per_s > 0 ? edge.link_bytes_per_s : median;
    const double seconds = rate == 0 ? 0 : static_cast<double>(need.on_link) / static_cast<double>(rate);
    const Nanos paused = need.on_link == 0 ? 0 : edge.paused_ns;
    left.push_back({&edge, need, saturating_add(paused, static_cast<Nanos>(std::min(seconds, 1e9) * 1e9))});
  }
  std::sort(left.begin(), left.end());
  std::vector<WaveForecast> list;
  std::size_t members = 0;
  Nanos free_at = 0;
  for (std::size_t i = 0; i < plan.waves.size(); ++i) {
    const bool last = i + 1 == plan.waves.size();
    const auto joins = [&](const Ready& one) {
      return last || (one.edge->rings && wave_names(plan.waves[i], *one.edge));
    };
    const auto matching = static_cast<std::size_t>(std::count_if(left.begin(), left.end(), joins));
    const std::size_t wanted = last ? members + matching : wave_goal(plan.waves[i], members, matching, fleet.size());
    const std::size_t need = wanted > members ? wanted - members : 0;
    WaveForecast wave;
    wave.measured = true;
    wave.activated_ns = free_at;
    std::vector<Ready> rest;
    for (const Ready& one : left) {
      if (wave.edges >= need || !joins(one)) {
        rest.push_back(one);
        continue;
      }
      ++wave.edges;
      wave.activated_ns = std::max(wave.activated_ns, one.after);
      wave.bytes += one.need.expected;
      wave.measured = wave.measured && (one.need.on_link == 0 || one.edge->link_bytes_per_s > 0);
    }
    left = std::move(rest);
    members += wave.edges;
    wave.ended_ns = saturating_add(wave.activated_ns, wave.edges == 0 && !last ? 0 : plan.dwell_ns);
    free_at = wave.ended_ns;
    list.push_back(wave);
  }
  return list;
}

}  // namespace tidelock
