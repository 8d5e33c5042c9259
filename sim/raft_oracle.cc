#include "sim/raft_oracle.h"

#include <algorithm>

#include "codec/archive.h"

namespace tidelock::sim {

std::optional<RaftPeek> RaftPeek::at(BytesView message) {
  Decoder in(message);
  RaftPeek out;
  std::uint16_t version = 0, features = 0, capacity = 0;
  std::uint64_t kind = 0, configuration_index = 0;
  Bytes configuration;
  in(version, out.from, out.to, kind, out.term);
  if (!in.ok() || kind > kTimeoutNow) return std::nullopt;
  out.kind = static_cast<Kind>(kind);
  bool disrupt = false;
  switch (out.kind) {
    case kVote: in(out.last_index, out.last_term, disrupt, out.pre_vote); break;
    case kVoteResult: in(out.granted, out.pre_vote, features, capacity); break;
    case kAppend: in(out.prev_index, out.prev_term, out.commit, out.entries); break;
    case kAppendResult: in(out.rejected, out.last_index, features, capacity); break;
    case kInstall: in(out.last_index, out.last_term, configuration_index, configuration); break;
    case kTimeoutNow: in(out.last_index, out.last_term); break;
  }
  if (!in.ok() || !in.at_end()) return std::nullopt;
  return out;
}

std::string RaftPeek::text() const {
  const auto n = [](std::uint64_t v) { return std::to_string(v); };
  std::string out = n(from) + " -> " + n(to) + " term " + n(term) + ": ";
  switch (kind) {
    case kVote:
      return out + (pre_vote ? "would you vote" : "vote") + " for me, my log ends at " + n(last_index) + " of term " +
             n(last_term);
    case kVoteResult: return out + (granted ? "yes" : "no") + (pre_vote ? ", I would" : "");
    case kAppend:
      return out + n(entries.size()) + " entries behind " + n(prev_index) + " of term " + n(prev_term) +
             ", committed up to " + n(commit);
    case kAppendResult:
      return out + (rejected > 0 ? "refused behind " + n(rejected) + ", mine end at " : "I have up to ") +
             n(last_index);
    case kInstall: return out + "snapshot at " + n(last_index) + " of term " + n(last_term);
    case kTimeoutNow: return out + "stand for election now";
  }
  return out;
}

void RaftOracle::wrong(std::uint64_t number, const std::string& what) const {
  world_.violated("member " + std::to_string(number) + " " + what);
}

void RaftOracle::voted(std::uint64_t number, std::uint64_t term, std::uint64_t candidate) {
  const auto [it, fresh] = votes_.emplace(std::pair{number, term}, candidate);
  if (!fresh && it->second != candidate) {
    wrong(number, "voted for " + std::to_string(it->second) + " and for " + std::to_string(candidate) + " in term " +
                      std::to_string(term));
  }
  const RaftVote& stored = disks_.at(number)->image().vote;
  if (stored.term < term || (stored.term == term && stored.voted_for != candidate)) {
    wrong(number, "sent a vote of term " + std::to_string(term) + " that is not on its disk");
  }
}

void RaftOracle::claims(std::uint64_t leader, std::uint64_t term, std::uint64_t index, std::uint64_t entry_term) {
  const auto [it, fresh] = claimed_[term].emplace(index, entry_term);
  if (!fresh && it->second != entry_term) {
    wrong(leader, "leads term " + std::to_string(term) + " and rewrote its own entry " + std::to_string(index));
  }
}

void RaftOracle::sent(std::uint64_t from, std::uint64_t to, const RaftPeek& m) {
  if (m.from != from || m.to != to || from == to || disks_.count(to) == 0) {
    return wrong(from, "sent a message to nobody: " + m.text());
  }
  switch (m.kind) {
    case RaftPeek::kVote:
      if (m.pre_vote) break;
      voted(from, m.term, from);
      if (m.last_index > 0 && !disks_.at(from)->image().has(m.last_index, m.last_term)) {
        wrong(from, "stands for election with entry " + std::to_string(m.last_index) + ", which is not on its disk");
      }
      break;
    case RaftPeek::kVoteResult:
      if (m.granted && !m.pre_vote) voted(from, m.term, to);
      break;
    case RaftPeek::kAppend: {
      claims(from, m.term, m.prev_index, m.prev_term);
      std::uint64_t index = m.prev_index;
      for (const RaftEntry& entry : m.entries) {
        claims(from, m.term, ++index, entry.term);
        const std::uint64_t hash = hash64(entry.payload);
        const auto [it, fresh] = entries_.emplace(std::pair{entry.term, index}, hash);
        if (!fresh && it->second != hash) {
          wrong(from, "has another entry at " + std::to_string(index) + " of term " + std::to_string(entry.term));
        }
      }
      break;
    }
    case RaftPeek::kInstall: claims(from, m.term, m.last_index, m.last_term); break;
    case RaftPeek::kAppendResult: {
      if (m.rejected > 0 || m.last_index == 0) break;
      const auto leader = claimed_.find(m.term);
      const auto snapshot = led_from_.find(m.term);
      const std::string text =
          "acknowledges entry " + std::to_string(m.last_index) + " in term " + std::to_string(m.term);
      if (leader == claimed_.end() || snapshot == led_from_.end()) return wrong(from, text + ", which nobody leads");
      if (m.last_index <= snapshot->second) break;  // the leader itself knows it from a snapshot only
      const auto claim = leader->second.find(m.last_index);
      if (claim == leader->second.end()) {
        wrong(from, text + ", which its leader does not have");
      } else if (!disks_.at(from)->image().has(m.last_index, claim->second)) {
        wrong(from, text + ", which is not on its disk as the leader has it");
      }
      break;
    }
    case RaftPeek::kTimeoutNow: break;
  }
}

void RaftOracle::leads(std::uint64_t number, std::uint64_t term,
                       const std::function<const RaftEntry*(std::uint64_t)>& log_of_the_leader,
                       std::uint64_t snapshot) {
  const auto [it, fresh] = leaders_.emplace(term, number);
  if (it->second != number)
    wrong(number, "leads term " + std::to_string(term) + " beside " + std::to_string(it->second));
  if (!fresh) return;
  led_from_[term] = snapshot;
  const RaftEntry* own = nullptr;
  for (std::uint64_t index = snapshot; (own = log_of_the_leader(++index)) != nullptr;) {
    claims(number, term, index, own->term);
  }
  for (auto at = log_.upper_bound(snapshot); at != log_.end(); ++at) {
    if (at->second.known_in >= term) continue;  // it may be a newer leader's; this one has slept
    const RaftEntry* entry = log_of_the_leader(at->first);
    if (entry == nullptr || entry->term != at->second.term) {
      return wrong(number, "leads term " + std::to_string(term) + " without entry " + std::to_string(at->first) +
                               ", which was handed out");
    }
  }
}

void RaftOracle::synced(std::uint64_t number) {
  const std::uint64_t term = disks_.at(number)->image().vote.term;
  std::uint64_t& seen = terms_on_disk_[number];
  if (term < seen) wrong(number, "went back to term " + std::to_string(term) + " on its disk");
  seen = term;
}

void RaftOracle::started(std::uint64_t number, Index applied) { positions_[number] = applied.value; }

Index RaftOracle::position(std::uint64_t number) const {
  const auto it = positions_.find(number);
  return {it == positions_.end() ? 0 : it->second};
}

std::optional<Index> RaftOracle::index_of(const Bytes& command) const {
  const auto it = commands_.find(hash64(command));
  return it == commands_.end() ? std::optional<Index>{} : Index{it->second};
}

// Under a configuration of this member's disk from the one in force at the entry on, or by one that somebody counts by:
// a leader counts by its newest before that is on any disk. It may: one change of one member at a time makes every two
// majorities of neighbours meet, so whoever is elected without the change has the entry as well.
bool RaftOracle::on_a_majority(std::uint64_t number, std::uint64_t index, std::uint64_t term,
                               const std::function<Configurations()>& newest) const {
  const auto enough = [&](const std::vector<RaftServer>& members) {
    std::size_t voters = 0, have = 0;
    for (const RaftServer& member : members) {
      if (member.role != RaftRole::kVoter) continue;
      ++voters;
      const auto disk = disks_.find(member.number);
      have += disk != disks_.end() && disk->second->image().has(index, term);
    }
    return 2 * have > voters;
  };
  const RaftImage& image = disks_.at(number)->image();
  std::vector<const Bytes*> configurations;
  if (image.snapshot) configurations.push_back(&image.snapshot->configuration);
  for (const std::uint64_t at : image.changes) {
    if (at <= index) configurations.clear();
    configurations.push_back(&image.log.at(at).payload);
  }
  for (const Bytes* bytes : configurations) {
    const auto members = decode_configuration(*bytes);
    if (members && enough(*members)) return true;
  }
  const Configurations others = newest();
  return std::any_of(others.begin(), others.end(), enough);
}

void RaftOracle::handed_out(std::uint64_t number, const LedgerEntry& entry,
                            const std::function<Configurations()>& newest) {
  const std::uint64_t index = entry.index.value;
  const std::uint64_t hash = hash64(entry.command);
  const std::string here = std::to_string(index);
  std::uint64_t& position = positions_[number];
  if (index <= position) return wrong(number, "handed out entry " + here + " twice");
  const auto next = log_.upper_bound(position);
  if (next != log_.end() && next->first < index) {
    return wrong(number, "handed out entry " + here + " and left out " + std::to_string(next->first));
  }
  position = index;
  const auto it = log_.find(index);
  if (it != log_.end()) {
    if (it->second.hash != hash) wrong(number, "handed out another entry " + here + " than others");
    return;
  }
  if (!log_.empty() && log_.rbegin()->first > index) {
    return wrong(number, "handed out entry " + here + ", which others do not have");
  }
  const RaftImage& image = disks_.at(number)->image();
  const auto stored = image.log.find(index);
  if (stored == image.log.end()) return wrong(number, "handed out entry " + here + ", which is not on its disk");
  if (!on_a_majority(number, index, stored->second.term, newest)) {
    return wrong(number, "handed out entry " + here + ", which is not on the disks of a majority");
  }
  log_[index] = {stored->second.term, hash, image.vote.term};
  if (!commands_.emplace(hash, index).second && commands_unique_)
    wrong(number, "handed out one command twice, at " + here);
}

void RaftOracle::installed(std::uint64_t number, Index index) {
  std::uint64_t& position = positions_[number];
  if (index.value < position) wrong(number, "went back to a snapshot at " + std::to_string(index.value));
  position = index.value;
}

}  // namespace tidelock::sim
