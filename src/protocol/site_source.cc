#include "protocol/site_source.h"

#include <algorithm>
#include <utility>

namespace tidelock {
namespace {

std::uint64_t rank_of(BytesView sha256, BytesView id, BytesView more = {}) {
  Bytes text(sha256);
  text += id;
  text += more;
  return hash64(text);
}

}  // namespace

std::string site_why_text(SiteSource::Why why) {
  switch (why) {
    case SiteSource::Why::kElected: return "this gateway fetches it for its site";
    case SiteSource::Why::kNobody: return "no neighbour has it or fetches it";
    case SiteSource::Why::kPatience: return "it did not come from a neighbour in time";
  }
  return "unknown";
}

SiteSource::SiteSource(NodeId self, BytesView sha256, std::uint64_t size_bytes, const std::vector<NodeId>& serving,
                       Nanos now, SiteTimes times)
    : times_(times),
      began_at_(now),
      patience_ns_(
          saturating_add(times.patience_ns, static_cast<Nanos>(size_bytes / times.rate_least_bytes_per_s) * kSecond)) {
  for (const NodeId& id : serving) {
    Candidate& one = candidates_.emplace_back();
    one.id = id;
    one.self = id == self;
    one.rank = rank_of(sha256, id);
    one.taste = rank_of(sha256, id, self);
  }
  // Equal ranks: by id, so that the order is one.
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return std::pair(b.rank, a.id) < std::pair(a.rank, b.id); });
  const auto same = [](const Candidate& a, const Candidate& b) { return a.id == b.id; };
  candidates_.erase(std::unique(candidates_.begin(), candidates_.end(), same), candidates_.end());
  if (candidates_.size() > kCandidatesMax) candidates_.resize(kCandidatesMax);
}

std::vector<NodeId> SiteSource::order() const {
  std::vector<NodeId> ids;
  for (const Candidate& one : candidates_) ids.push_back(one.id);
  return ids;
}

SiteSource::Candidate* SiteSource::find(const NodeId& id) {
  for (Candidate& one : candidates_) {
    if (one.id == id && !one.self) return &one;
  }
  return nullptr;
}

bool SiteSource::stalled(const Candidate& one, Nanos now) const {
  return saturating_sub(now, one.moved_at) >= times_.stall_ns;
}

// Asks the one that counts often, the others now and then, else waits.
SiteSource::Next SiteSource::wait_for(const Candidate* one, Nanos now, Nanos most_ns) const {
  Nanos wait_ns = std::min(most_ns, saturating_sub(saturating_add(began_at_, patience_ns_), now));
  for (const Candidate& other : candidates_) {
    if (other.self || other.wrong) continue;
    const Nanos since = other.asked_at == kNever ? began_at_ : other.asked_at;
    const Nanos due_ns = saturating_sub(saturating_add(since, &other == one ? times_.poll_ns : times_.look_ns), now);
    if (due_ns <= 0) return {Step::kAsk, other.id, 0, Why::kNobody};
    wait_ns = std::min(wait_ns, due_ns);
  }
  return {Step::kWait, one != nullptr ? one->id : NodeId(), std::max<Nanos>(wait_ns, 1), Why::kNobody};
}

SiteSource::Next SiteSource::next(Nanos now) {
  if (saturating_sub(now, began_at_) >= patience_ns_) return {Step::kHub, {}, 0, Why::kPatience};
  const Candidate* giver = nullptr;
  Nanos given_in_ns = kForever;
  for (const Candidate& one : candidates_) {
    if (one.self || one.wrong || !one.answers || one.tell.state != SiteState::kHas) continue;
    if (now < one.retry_at) {
      given_in_ns = std::min(given_in_ns, saturating_sub(one.retry_at, now));
    } else if (giver == nullptr || giver->taste < one.taste) {
      giver = &one;
    }
  }
  if (giver != nullptr) return {Step::kTake, giver->id, 0, Why::kNobody};
  for (const Candidate& one : candidates_) {
    if (one.self || one.wrong || !one.answers || one.tell.state != SiteState::kFetching || stalled(one, now)) continue;
    return wait_for(&one, now, saturating_sub(saturating_add(one.moved_at, times_.stall_ns), now));
  }
  for (const Candidate& one : candidates_) {
    if (!one.self && !one.wrong && one.asked_at == kNever) return {Step::kAsk, one.id, 0, Why::kNobody};
  }
  if (given_in_ns != kForever) return wait_for(nullptr, now, given_in_ns);
  for (Candidate& one : candidates_) {
    if (one.self) return {Step::kHub, {}, 0, Why::kElected};
    if (one.wrong || !one.answers || one.passed_over || one.tell.state != SiteState::kNothing) continue;
    if (elected_ != one.id) {
      elected_ = one.id;
      elected_at_ = now;
    }
    const Nanos left_ns = saturating_sub(saturating_add(elected_at_, times_.begin_ns), now);
    if (left_ns > 0) return wait_for(&one, now, left_ns);
    one.passed_over = true;
  }
  return {Step::kHub, {}, 0, Why::kNobody};
}

void SiteSource::told(Nanos now, const NodeId& neighbour, const SiteTell& tell) {
  Candidate* one = find(neighbour);
  if (one == nullptr) return;
  if (tell.state == SiteState::kFetching && (!one->answers || one->tell != tell)) {
    one->moved_at = now;
    one->passed_over = false;
  }
  one->asked_at = now;
  one->answers = true;
  one->silences = 0;
  one->tell = tell;
}

void SiteSource::silent(Nanos now, const NodeId& neighbour) {
  Candidate* one = find(neighbour);
  if (one == nullptr) return;
  one->asked_at = now;
  // One lost answer must not make a second gateway fetch what the first is about to have.
  const bool counts = one->tell.state == SiteState::kFetching || one->tell.state == SiteState::kHas;
  if (!one->answers || !counts || ++one->silences >= kSilencesMax) one->answers = false;
}

void SiteSource::failed(Nanos now, const NodeId& neighbour, Failure how) {
  Candidate* one = find(neighbour);
  if (one == nullptr) return;
  one->retry_at = saturating_add(now, times_.retry_ns);
  if (how == Failure::kWrong || (how == Failure::kBroke && ++one->broke >= kBrokeMax)) one->wrong = true;
}

}  // namespace tidelock
