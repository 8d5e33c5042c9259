// How members come, go and hand over the leadership. The library offers catch-up rounds of its own (RAFT_CATCH_UP, for
// spares), but gives a member up after five seconds, which a snapshot over a slow link exceeds, and allows no other
// change meanwhile. A standby gets everything and counts for nothing, so we only have to watch how far it is.
#include <algorithm>

#include "ledger/raft/raft_callbacks.h"
#include "ledger/raft/raft_core.h"
#include "ledger/raft/raft_driver.h"
#include "ledger/raft/raft_wire.h"

namespace tidelock {

const RaftServer* RaftDriver::member(std::uint64_t number) const {
  for (const RaftServer& server : members_) {
    if (server.number == number) return &server;
  }
  return nullptr;
}

const RaftDriver::Configuration* RaftDriver::configuration_at(std::uint64_t index) const {
  const Configuration* found = nullptr;
  for (const Configuration& c : configurations_) {
    if (c.index <= index) found = &c;
  }
  return found;
}

void RaftDriver::refresh_members() {
  if (configurations_.empty()) return;
  if (auto decoded = decode_configuration(configurations_.back().bytes)) members_ = std::move(*decoded);
}

// The newest configuration is committed, and an entry of this leader's term.
bool RaftDriver::settled() const {
  return !configurations_.empty() && configurations_.back().index <= commit_index().value &&
         term_at(commit_index().value) == term();
}

Nanos RaftDriver::heard(std::uint64_t number) const {
  const auto it = heard_.find(number);
  return it == heard_.end() ? kNever : it->second;
}

Index RaftDriver::match(std::uint64_t number) const {
  return {number == settings_.number ? tl_raft_last_stored(raft_.get()) : tl_raft_match_index(raft_.get(), number)};
}

Result<void> RaftDriver::may_change(const RaftChange& event) const {
  const RaftServer& server = event.server;
  if (server.number == 0 || server.address.size() > kAddressBytesMax || server.address.find('\0') != Bytes::npos) {
    return fail(Code::kInvalid, "member " + std::to_string(server.number) + " has an address of " +
                                    std::to_string(server.address.size()) +
                                    " bytes: want a number above 0 and at most 256 bytes, none zero");
  }
  if (!leading()) return fail(Code::kNotActive, "this member does not lead");
  if (transfer_) return fail(Code::kBusy, "the leadership is being handed over; repeat in a moment");
  const RaftServer* known = member(server.number);
  if (change_ && !(event.remove && change_->wanted.server.number == server.number)) {
    return fail(Code::kBusy, "another change of the members is in progress: " + change_->wanted.server.address);
  }
  if (event.remove && known == nullptr) return fail(Code::kNotFound, "it is not a member");
  if (known == nullptr) {
    if (members_.size() >= kServersMax) return fail(Code::kConflict, "there are 64 members already");
    for (const RaftServer& other : members_) {
      if (other.address == server.address) return fail(Code::kConflict, "another member has that address");
    }
    return {};
  }
  if (known->role != RaftRole::kVoter || (!event.remove && server.role == RaftRole::kVoter)) return {};
  // A voter leaves: those that stay must be able to decide, now.
  std::size_t voters = 0;
  std::size_t answering = 0;
  std::string silent;
  const Nanos since = saturating_sub(now_, 2 * static_cast<Nanos>(settings_.election_timeout_ms) * kMillisecond);
  for (const RaftServer& other : members_) {
    if (other.role != RaftRole::kVoter || other.number == server.number) continue;
    ++voters;
    if (other.number == settings_.number || heard(other.number) >= since) {
      ++answering;
    } else {
      silent += " " + other.address;
    }
  }
  if (voters == 1 && member(settings_.number)->role == RaftRole::kVoter && server.number == settings_.number) {
    // 0.22.1: a follower that is left as the only voter leads at once, without a new term: two leaders in one.
    return fail(Code::kConflict, "only one voter would stay; hand the leadership to it first");
  }
  if (voters == 0) return fail(Code::kConflict, "it is the last voter; add another member first");
  if (answering <= voters / 2 && leads_since_ > since) {
    return fail(Code::kBusy, "this member leads since a moment and has not heard from all yet; repeat in a second");
  }
  if (answering <= voters / 2) {
    return fail(Code::kConflict, "that would leave no majority: of the " + std::to_string(voters) +
                                     " voters that would stay only " + std::to_string(answering) +
                                     " answer; bring back or replace first:" + silent);
  }
  return {};
}

// 0.22.1 grants no vote where the own configuration says "no voter". But whoever was promoted may be the last to hear
// of it: when a leader dies with the promotion on its own disk only, it needs that very vote to lead again, and without
// it nobody ever leads. As in the Raft thesis (4.1) it is the candidate's configuration that counts, so a member
// without a vote decides here, by the same rules: once a term, to a log that is not behind, and not while a leader is
// heard.
bool RaftDriver::decides_itself(const WireVote& asked) const {
  const RaftServer* self = member(settings_.number);
  if (self == nullptr || self->role == RaftRole::kVoter || installing_ || last_index().value == 0) return false;
  const Nanos election = static_cast<Nanos>(settings_.election_timeout_ms) * kMillisecond;
  return asked.disrupt_leader || leader() == 0 || saturating_sub(now_, led_at_) >= election;
}

bool RaftDriver::grant(std::uint64_t to) {
  if (asked_ == nullptr) return false;
  const std::uint64_t last_term = term_at(last_index().value);  // the snapshot's, behind which nothing may follow
  if (asked_->last_term < last_term) return false;
  if (asked_->last_term == last_term && asked_->last_index < last_index().value) return false;
  if (asked_->pre_vote) return asked_->term > term();
  if (asked_->term != term()) return false;
  put_vote(asked_->term, to);  // that there was none in this term was tested on arrival
  return true;
}

Result<void> RaftDriver::submit_members(std::vector<RaftServer> servers) {
  std::vector<RaftEntry> entries;
  entries.push_back({term(), RaftEntryType::kChange, encode_configuration(servers)});
  const int code = submit(entries);
  if (code == TL_RAFT_NOT_LEADER) return fail(Code::kNotActive, "this member does not lead");
  if (code == TL_RAFT_NO_SPACE || code == TL_RAFT_CANT_CHANGE) return fail(Code::kBusy, tl_raft_strerror(code));
  if (!check(code, "change of members")) return fail(Code::kUnavailable, "the ledger failed");
  change_->index = last_index().value;
  change_->term = term();
  return {};
}

Result<void> RaftDriver::submit_change(const RaftChange& event) {
  std::vector<RaftServer> servers = members_;
  const auto it =
      std::find_if(servers.begin(), servers.end(), [&](const auto& s) { return s.number == event.server.number; });
  if (event.remove) {
    servers.erase(it);
  } else if (it == servers.end()) {
    servers.push_back(event.server);
    if (servers.back().role == RaftRole::kVoter) servers.back().role = RaftRole::kStandby;
  } else if (event.server.role == RaftRole::kVoter && it->role != RaftRole::kVoter) {
    if (it->role == RaftRole::kStandby) {  // left over from an attempt before: it only has to catch up
      change_->round_target = last_index().value;
      change_->round_began = change_->progress_at = now_;
      return {};
    }
    it->role = RaftRole::kStandby;
  } else {
    it->role = event.server.role;
  }
  return submit_members(std::move(servers));
}

void RaftDriver::on(const RaftChange& event) {
  if (auto may = may_change(event); !may) {
    out_->ended.push_back({event.ticket, may.error().code, may.error().message});
    return;
  }
  if (change_) end_change(Code::kConflict, "it was removed while it was being added");
  const RaftServer* known = member(event.server.number);
  if (!event.remove && known != nullptr && known->role == event.server.role) {
    out_->ended.push_back({event.ticket, Code::kOk, {}});
    return;
  }
  change_ = ChangeUnderWay{};
  change_->wanted = event;
  if (!settled()) {
    // Changes of one member at a time are safe only behind a committed entry of the leader's own term: without it, two
    // leaders may each commit a change whose majorities do not overlap. 0.22.1 appends none when it has nothing to
    // commit.
    change_->waits = true;
    if (term_at(last_index().value) == term()) return;
    std::vector<RaftEntry> barrier(1, RaftEntry{term(), RaftEntryType::kBarrier, Bytes(8, '\0')});
    const int code = submit(barrier);
    if (code == TL_RAFT_NOT_LEADER || code == TL_RAFT_NO_SPACE) {
      end_change(Code::kBusy, tl_raft_strerror(code));
    } else {
      check(code, "barrier");
    }
    return;
  }
  if (auto submitted = submit_change(event); !submitted) end_change(submitted.error().code, submitted.error().message);
}

void RaftDriver::end_change(Code code, std::string message) {
  out_->ended.push_back({change_->wanted.ticket, code, std::move(message)});
  change_.reset();
}

void RaftDriver::advance_change() {
  if (!change_) return;
  ChangeUnderWay& change = *change_;
  const RaftServer& wanted = change.wanted.server;
  if (change.waits && leading()) {
    if (!settled()) return;
    const RaftChange event = std::move(change.wanted);
    change_.reset();
    on(event);
    return;
  }
  if (change.index != 0) {
    if (configured_ >= change.index && term_at(change.index) == change.term) {
      const RaftServer* now = member(wanted.number);
      if (change.wanted.remove || (now != nullptr && now->role == wanted.role)) {
        end_change(Code::kOk, {});
        return;
      }
      change.index = 0;
      change.round_target = last_index().value;
      change.round_began = change.progress_at = now_;
    }
  }
  if (!leading()) {
    end_change(Code::kMaybeApplied, "the leadership was lost before the change was committed; look, and repeat it");
    return;
  }
  if (change.index != 0) return;
  const std::uint64_t reached = match(wanted.number).value;
  if (reached > change.match) {
    change.match = reached;
    change.progress_at = now_;
  }
  if (reached >= change.round_target) {
    // As in the Raft thesis: a round shorter than an election timeout leaves no gap in which nothing could be
    // committed.
    const Nanos election = static_cast<Nanos>(settings_.election_timeout_ms) * kMillisecond;
    if (reached < last_index().value && saturating_sub(now_, change.round_began) > election) {
      change.round_target = last_index().value;
      change.round_began = now_;
      return;
    }
    std::vector<RaftServer> servers = members_;
    for (RaftServer& server : servers) {
      if (server.number == wanted.number) server.role = wanted.role;
    }
    if (auto submitted = submit_members(std::move(servers)); !submitted && submitted.error().code != Code::kBusy) {
      end_change(submitted.error().code, submitted.error().message);
    }
    return;
  }
  if (saturating_sub(now_, change.progress_at) >= static_cast<Nanos>(settings_.catch_up_timeout_ms) * kMillisecond) {
    end_change(Code::kUnavailable, "it is a standby now, but did not catch up: it has " + std::to_string(reached) +
                                       " of " + std::to_string(last_index().value) +
                                       " entries; start it or mend its link and repeat, or remove it");
  }
}

void RaftDriver::on(const RaftTransfer& event) {
  const auto refuse = [&](Code code, std::string message) {
    out_->ended.push_back({event.ticket, code, std::move(message)});
  };
  const RaftServer* to = member(event.to);
  if (!leading()) return refuse(Code::kNotActive, "this member does not lead");
  if (to == nullptr) return refuse(Code::kNotFound, "it is not a member");
  if (event.to == settings_.number) return refuse(Code::kOk, {});
  if (to->role != RaftRole::kVoter) return refuse(Code::kConflict, "it has no vote; only a voter can lead");
  if (transfer_ || change_) return refuse(Code::kBusy, "another change is in progress; repeat when it is done");
  transfer_ = event;
  const tl_raft_sink sink = Callbacks::sink(this);
  check(tl_raft_transfer(raft_.get(), now_ms_, event.to, &sink), "transfer");
}

void RaftDriver::advance_transfer() {
  if (!transfer_) return;
  if (leading() && tl_raft_transferee(raft_.get()) != 0) return;
  const bool gone = !leading();
  out_->ended.push_back({transfer_->ticket, gone ? Code::kOk : Code::kUnavailable,
                         gone ? "" : "it did not take over in time; is it up, and not far behind?"});
  transfer_.reset();
}

}  // namespace tidelock
