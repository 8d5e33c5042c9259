// The log lives here, in log_; libraft itself keeps only terms (its "trail"). Entries go through the library without
// their payloads (only a configuration's is read by it) and are put back together in put_entries. Two ways in: `submit`
// on a leader, `append` on a follower; one way out: apply_committed.
#include "ledger/raft/raft_driver.h"

#include <algorithm>

#include "base/assert.h"
#include "codec/archive.h"
#include "ledger/raft/raft_callbacks.h"
#include "ledger/raft/raft_core.h"
#include "ledger/raft/raft_wire.h"

namespace tidelock {

static_assert(static_cast<int>(RaftEntryType::kCommand) == TL_RAFT_COMMAND);
static_assert(static_cast<int>(RaftEntryType::kBarrier) == TL_RAFT_BARRIER);
static_assert(static_cast<int>(RaftEntryType::kChange) == TL_RAFT_CHANGE);

// --- callbacks

void RaftDriver::Callbacks::vote(void* context, std::uint64_t term, std::uint64_t voted_for) {
  self(context).put_vote(term, voted_for);
}

void RaftDriver::Callbacks::install(void* context, const tl_raft_snapshot* in) {
  RaftDriver& d = self(context);
  RaftSnapshotMeta meta;
  meta.index = in->index;
  meta.term = in->term;
  meta.configuration_index = in->configuration_index;
  meta.configuration.assign(static_cast<const char*>(in->configuration), in->configuration_size);
  d.installing_ = meta;
  d.out_->install = std::move(meta);
  d.drop_pending(0);  // the snapshot may contain it, and then it is never handed out
  d.writes_.clear();  // whatever is being written is dropped with the log
  d.log_.clear();
  d.log_bytes_ = 0;
  d.bytes_since_snapshot_ = 0;
  d.first_ = in->index + 1;
}

void RaftDriver::Callbacks::append(void* context, std::uint64_t index, const tl_raft_entry* in, unsigned n) {
  RaftDriver& d = self(context);
  std::vector<RaftEntry> entries;
  entries.reserve(n);
  for (unsigned i = 0; i < n; ++i) {
    RaftEntry entry{in[i].term, static_cast<RaftEntryType>(in[i].type), {}};
    const std::uint64_t at = index + i;
    if (d.incoming_ != nullptr && at >= d.incoming_first_ && at - d.incoming_first_ < d.incoming_->size()) {
      entry.payload = std::move((*d.incoming_)[at - d.incoming_first_].payload);
    } else {  // the library's own barrier
      entry.payload.assign(static_cast<const char*>(in[i].data), in[i].size);
    }
    entries.push_back(std::move(entry));
  }
  d.put_entries(index, std::move(entries));
}

void RaftDriver::Callbacks::send(void* context, const tl_raft_message* m) {
  RaftDriver& d = self(context);
  const auto version = static_cast<std::uint16_t>(m->version);
  const auto put = [&](auto what) {
    d.out_->send.push_back({m->peer, encode(Wire{version, d.settings_.number, m->peer, std::move(what)})});
  };
  switch (m->type) {
    case TL_RAFT_APPEND:
      d.send_append(m->peer, version, m->term, m->prev_index, m->prev_term, m->commit, m->n_entries);
      break;
    case TL_RAFT_APPEND_RESULT:
      // 0.22.1 leaves the last index of an answer to a stale message unset.
      put(WireAppendResult{m->term, m->rejected, d.answering_stale_ ? 0 : m->last_index,
                           static_cast<std::uint16_t>(m->features), static_cast<std::uint16_t>(m->capacity)});
      break;
    case TL_RAFT_VOTE: put(WireVote{m->term, m->last_index, m->last_term, m->disrupt_leader, m->pre_vote}); break;
    case TL_RAFT_VOTE_RESULT: {
      const bool granted = m->granted || d.grant(m->peer);
      // 0.22.1 answers a pre-vote with the candidate's own term. A candidate behind ours would never learn of it: its
      // log is refused for its term, ours for its end, and nobody leads. A refusal names the term it rests on.
      const std::uint64_t term = m->pre_vote && !granted ? std::max(m->term, d.term()) : m->term;
      put(WireVoteResult{term, granted, m->pre_vote, static_cast<std::uint16_t>(m->features),
                         static_cast<std::uint16_t>(m->capacity)});
      break;
    }
    case TL_RAFT_INSTALL: d.send_install(m->peer, version, m->term); break;
    case TL_RAFT_TIMEOUT_NOW: put(WireTimeoutNow{m->term, m->last_index, m->last_term}); break;
    default: break;
  }
}

static tl_raft_snapshot borrow(const RaftSnapshotMeta& meta) {
  return {meta.index, meta.term, meta.configuration_index, meta.configuration.data(), meta.configuration.size()};
}

static std::vector<tl_raft_entry> borrow(const std::vector<RaftEntry>& entries) {
  std::vector<tl_raft_entry> out;
  out.reserve(entries.size());
  for (const RaftEntry& entry : entries) {
    const bool read = entry.type == RaftEntryType::kChange;
    out.push_back({entry.term, static_cast<int>(entry.type), read ? entry.payload.data() : nullptr,
                   read ? entry.payload.size() : 0});
  }
  return out;
}

// --- start

RaftDriver::RaftDriver() = default;
RaftDriver::~RaftDriver() = default;
void RaftDriver::Close::operator()(tl_raft* r) const { tl_raft_close(r); }

Result<void> RaftDriver::start(const RaftDriverSettings& settings, RaftLoaded loaded,
                               const std::vector<RaftServer>& bootstrap, Nanos now, RaftActions& out) {
  TIDELOCK_ASSERT(!started_ && settings.number != 0);
  started_ = true;
  settings_ = settings;
  now_ = std::max<Nanos>(now, 0);
  now_ms_ = static_cast<std::uint64_t>(now_ / kMillisecond);
  if (loaded.pristine() && !bootstrap.empty()) {
    loaded.vote = {1, 0};
    loaded.first_index = 1;
    loaded.entries.push_back({1, RaftEntryType::kChange, encode_configuration(bootstrap)});
    out.persist.vote = loaded.vote;
    out.persist.appends.push_back({1, loaded.entries});
    out.persist_first = true;
  }
  snapshot_ = std::move(loaded.snapshot);
  first_ = loaded.first_index;
  applied_ = std::max(settings.applied.value, snapshot_index().value);
  configured_ = snapshot_index().value;
  const std::uint64_t last = first_ + loaded.entries.size() - 1;
  const std::string advice = "; restore this hub's folder as a whole, or remove it so that the hub joins anew";
  if (first_ == 0 || first_ > snapshot_index().value + 1 || last < snapshot_index().value) {
    return fail(Code::kCorrupt, "raft log: entries " + std::to_string(first_) + " to " + std::to_string(last) +
                                    " do not join snapshot " + std::to_string(snapshot_index().value) + advice);
  }
  if (settings.applied.value > last) {
    return fail(Code::kCorrupt, "state machine contains entry " + std::to_string(settings.applied.value) +
                                    " but the raft log ends at " + std::to_string(last) + advice);
  }
  std::uint64_t term = snapshot_ ? snapshot_->term : 0;
  if (snapshot_) {
    if (!decode_configuration(snapshot_->configuration)) {
      return fail(Code::kCorrupt, "raft snapshot: malformed configuration" + advice);
    }
    configurations_.push_back({snapshot_->configuration_index, snapshot_->configuration});
  }
  for (std::size_t i = 0; i < loaded.entries.size(); ++i) {
    const RaftEntry& entry = loaded.entries[i];
    const std::uint64_t index = first_ + i;
    const bool above = index > snapshot_index().value;  // trailing entries are older than the snapshot's term
    if (entry.term == 0 || entry.term > loaded.vote.term || (above && entry.term < term)) {
      return fail(Code::kCorrupt, "raft log: entry " + std::to_string(index) + " has term " +
                                      std::to_string(entry.term) + ", expected " + std::to_string(term) + " to " +
                                      std::to_string(loaded.vote.term) + advice);
    }
    if (above) term = entry.term;
    if (entry.type == RaftEntryType::kChange) {
      if (!decode_configuration(entry.payload)) {
        return fail(Code::kCorrupt, "raft log: entry " + std::to_string(index) + ": malformed configuration" + advice);
      }
      if (above) configurations_.push_back({index, entry.payload});
    }
    if (above && index <= applied_) bytes_since_snapshot_ += entry.payload.size();
    log_bytes_ += entry.payload.size();
  }
  if (!snapshot_ && !loaded.entries.empty() && loaded.entries[0].type != RaftEntryType::kChange) {
    return fail(Code::kCorrupt, "raft log: entry 1 is not a configuration" + advice);
  }

  // 0.22.1 lets an only voter lead at once, in the term that it has: one in which it may have voted for another, or
  // sent entries to a standby that its own disk then lost.
  if (!configurations_.empty()) {
    const auto servers = decode_configuration(configurations_.back().bytes);
    const auto voters = std::count_if(servers->begin(), servers->end(),
                                      [](const RaftServer& server) { return server.role == RaftRole::kVoter; });
    const bool votes = std::any_of(servers->begin(), servers->end(), [&](const RaftServer& server) {
      return server.number == settings.number && server.role == RaftRole::kVoter;
    });
    if (votes && voters == 1) {
      loaded.vote = {loaded.vote.term + 1, settings.number};
      out.persist.vote = loaded.vote;
      out.persist_first = true;
    }
  }

  vote_ = loaded.vote;
  const tl_raft_settings core = {settings.number,
                                 settings.address.c_str(),
                                 settings.election_timeout_ms,
                                 settings.heartbeat_ms,
                                 settings.snapshot_install_timeout_ms,
                                 settings.max_inflight_entries,
                                 settings.seed};
  raft_.reset(tl_raft_open(&core));
  if (!raft_) return fail(Code::kUnavailable, "raft: out of memory");
  const std::vector<tl_raft_entry> entries = borrow(loaded.entries);
  log_.assign(std::make_move_iterator(loaded.entries.begin()), std::make_move_iterator(loaded.entries.end()));
  // The payloads of configurations are borrowed from log_ from here on.
  std::vector<tl_raft_entry> borrowed = entries;
  for (std::size_t i = 0; i < borrowed.size(); ++i) {
    if (borrowed[i].data != nullptr) borrowed[i].data = log_[i].payload.data();
  }
  out_ = &out;
  tl_raft_snapshot snapshot{};
  if (snapshot_) snapshot = borrow(*snapshot_);
  const tl_raft_sink sink = Callbacks::sink(this);
  const int code =
      tl_raft_start(raft_.get(), now_ms_, loaded.vote.term, loaded.vote.voted_for, snapshot_ ? &snapshot : nullptr,
                    first_, borrowed.data(), static_cast<unsigned>(borrowed.size()), &sink);
  if (check(code, "start")) after_step();
  out_ = nullptr;
  if (out.failed) return fail(*out.failed);
  return {};
}

// --- steps

void RaftDriver::step(RaftEvent&& event, RaftActions& out) {
  TIDELOCK_ASSERT(started_ && !failed_);
  now_ = std::max(now_, event.now);
  now_ms_ = static_cast<std::uint64_t>(now_ / kMillisecond);
  out_ = &out;
  std::visit([this](auto& what) { on(what); }, event.what);
  if (!failed_) after_step();
  incoming_ = nullptr;
  answering_stale_ = false;
  asked_ = nullptr;
  out_ = nullptr;
}

void RaftDriver::on(const RaftTick&) {
  // Early ticks are not harmless: a leader judges at each whether its followers answered since the last.
  if (now_ms_ < tl_raft_timeout_ms(raft_.get())) return;
  const tl_raft_sink sink = Callbacks::sink(this);
  check(tl_raft_tick(raft_.get(), now_ms_, &sink), "tick");
}

void RaftDriver::on(RaftReceived& event) {
  Result<Wire> decoded = decode<Wire>(event.message, "raft message");
  // One that says that it comes from ourselves would be answered to ourselves, and counted.
  if (!decoded || decoded->from != event.from || decoded->to != settings_.number || event.from == settings_.number) {
    ++malformed_;
    return;
  }
  heard_[event.from] = now_;
  Wire& wire = *decoded;
  tl_raft_message m{};
  m.peer = event.from;
  m.version = wire.version;
  const char* fault = std::visit([](const auto& what) { return fault_of(what); }, wire.what);
  std::vector<tl_raft_entry> entries;
  bool from_leader = false;
  if (auto* vote = std::get_if<WireVote>(&wire.what)) {
    if (!vote->pre_vote && vote->term == vote_.term && vote_.voted_for != 0 && vote_.voted_for != event.from) {
      // Perhaps given by grant(), then the library does not know of it.
      out_->send.push_back({event.from, encode(Wire{wire.version, settings_.number, event.from,
                                                    WireVoteResult{term(), false, false, 0, 0}})});
      return;
    }
    if (fault == nullptr && decides_itself(*vote)) {
      asked_ = vote;
      m.disrupt_leader = true;  // decided here
    }
    m.type = TL_RAFT_VOTE;
    m.term = vote->term;
    m.last_index = vote->last_index;
    m.last_term = vote->last_term;
    m.disrupt_leader = m.disrupt_leader || vote->disrupt_leader;
    m.pre_vote = vote->pre_vote;
  } else if (auto* result = std::get_if<WireVoteResult>(&wire.what)) {
    m.type = TL_RAFT_VOTE_RESULT;
    m.term = result->term;
    m.granted = result->granted;
    m.pre_vote = result->pre_vote;
    m.features = result->features;
    m.capacity = result->capacity;
  } else if (auto* append = std::get_if<WireAppend>(&wire.what)) {
    m.type = TL_RAFT_APPEND;
    m.term = append->term;
    if (fault == nullptr && m.term >= term()) skip_compacted(append->prev_index, append->prev_term, append->entries);
    m.prev_index = append->prev_index;
    m.prev_term = append->prev_term;
    // 0.22.1 sets its commit index to min(leader's, last entry of the message), which falls when an old message with a
    // new commit index arrives late; such a message carries no news about the commit.
    const std::uint64_t reach = append->prev_index + append->entries.size();
    m.commit = reach < commit_index().value ? std::min(append->commit, commit_index().value) : append->commit;
    entries = borrow(append->entries);
    m.entries = entries.data();
    m.n_entries = static_cast<unsigned>(entries.size());
    incoming_ = &append->entries;
    incoming_first_ = append->prev_index + 1;
    from_leader = true;
  } else if (auto* acked = std::get_if<WireAppendResult>(&wire.what)) {
    m.type = TL_RAFT_APPEND_RESULT;
    m.term = acked->term;
    m.rejected = acked->rejected;
    m.last_index = acked->last_index;
    m.features = acked->features;
    m.capacity = acked->capacity;
    // A refusal that was overtaken by a later acknowledgement. 0.22.1 would lower its next index below what the
    // follower is known to have, and send it nothing more in this term. What a member has synced it never refuses
    // again, so such a refusal is old for certain: what remains of it is "heard from".
    const std::uint64_t match = tl_raft_match_index(raft_.get(), event.from);
    if (m.rejected > 0 && m.term == term()) {
      m.last_index = std::max(m.last_index, match);
      if (m.rejected <= match) {
        m.rejected = 0;
        m.last_index = match;
      }
    }
  } else if (auto* install = std::get_if<WireInstall>(&wire.what)) {
    if (installing_) return;  // one at a time; the library would forget to free it
    m.type = TL_RAFT_INSTALL;
    m.term = install->term;
    m.last_index = install->last_index;
    m.last_term = install->last_term;
    m.configuration_index = install->configuration_index;
    m.configuration = install->configuration.data();
    m.configuration_size = install->configuration.size();
    from_leader = true;
  } else if (auto* timeout = std::get_if<WireTimeoutNow>(&wire.what)) {
    m.type = TL_RAFT_TIMEOUT_NOW;
    m.term = timeout->term;
    m.last_index = timeout->last_index;
    m.last_term = timeout->last_term;
  }
  if (m.term >= kTermMax) fault = "term out of range";
  if (from_leader && leading() && m.term == term()) fault = "a second leader in one term";
  if (fault != nullptr) {
    ++malformed_;
    return;
  }
  answering_stale_ = from_leader && m.term < term();
  if (from_leader && !answering_stale_) led_at_ = now_;
  const tl_raft_sink sink = Callbacks::sink(this);
  check(tl_raft_receive(raft_.get(), now_ms_, &m, &sink), "receive");
  incoming_ = nullptr;
}

// A leader that missed our acknowledgements begins below what we still have. What a snapshot contains is committed, so
// it is the leader's as well; 0.22.1 refuses it as unknown, which the leader takes for old news, and sends it for ever.
void RaftDriver::skip_compacted(std::uint64_t& prev_index, std::uint64_t& prev_term,
                                std::vector<RaftEntry>& entries) const {
  if (!snapshot_ || prev_index >= snapshot_->index || prev_index >= first_) return;
  const std::uint64_t known = std::min<std::uint64_t>(snapshot_->index - prev_index, entries.size());
  entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(known));
  prev_index = snapshot_->index;
  prev_term = snapshot_->term;
}

void RaftDriver::on(RaftProposed& event) {
  std::vector<RaftEntry> entries;
  entries.reserve(event.proposals.size());
  std::uint64_t index = last_index().value + 1;
  const std::uint64_t at_term = term();
  std::vector<Pending> submitted;
  for (RaftProposal& proposal : event.proposals) {
    submitted.push_back({index++, proposal.id, proposal.command.size()});
    entries.push_back({at_term, RaftEntryType::kCommand, std::move(proposal.command)});
  }
  Code refused = Code::kNotActive;
  if (leading() && !entries.empty()) {
    const int code = submit(entries);
    if (code == 0) {
      for (const Pending& p : submitted) pending_bytes_ += p.bytes;
      pending_.insert(pending_.end(), submitted.begin(), submitted.end());
      return;
    }
    if (code == TL_RAFT_NO_SPACE) {
      refused = Code::kBusy;
    } else if (code != TL_RAFT_NOT_LEADER && !check(code, "submit")) {
      return;
    }
  }
  for (const Pending& p : submitted) out_->dropped.emplace_back(p.id, refused);
}

// Puts the entries behind the log, as a leader; 0 or the library's code.
int RaftDriver::submit(std::vector<RaftEntry>& entries) {
  incoming_ = &entries;
  incoming_first_ = last_index().value + 1;
  const std::vector<tl_raft_entry> borrowed = borrow(entries);
  const tl_raft_sink sink = Callbacks::sink(this);
  const int code = tl_raft_submit(raft_.get(), now_ms_, borrowed.data(), static_cast<unsigned>(borrowed.size()), &sink);
  incoming_ = nullptr;
  return code;
}

void RaftDriver::on(const RaftPersisted& event) {
  // The highest entry of the finished writes that is still in the log: a later write may have replaced a part of it.
  std::uint64_t stored = 0;
  while (!writes_.empty() && writes_.front().no <= event.persist_no) {
    const Write& write = writes_.front();
    for (std::size_t i = write.terms.size(); i-- > 0;) {
      const std::uint64_t index = write.first + i;
      if (index < first_ || index > last_index().value || term_at(index) != write.terms[i]) continue;
      stored = std::max(stored, index);
      break;
    }
    writes_.pop_front();
  }
  if (installing_ || stored <= tl_raft_last_stored(raft_.get())) return;
  const tl_raft_sink sink = Callbacks::sink(this);
  check(tl_raft_persisted_entries(raft_.get(), now_ms_, stored, &sink), "persisted");
}

void RaftDriver::on(const RaftSnapshotTaken& event) {
  snapshot_asked_ = false;
  snapshot_retry_at_ = applied_ + 1;  // a state machine that got no further is not asked again before there is more
  const std::uint64_t index = event.index.value;
  // An install, or a newer snapshot, may have overtaken it; then persist.snapshot stays empty and the files are
  // rubbish.
  if (installing_ || index <= snapshot_index().value || index > applied_ || index < first_) return;
  const Configuration* configuration = configuration_at(index);
  if (configuration == nullptr) return;
  RaftSnapshotMeta meta{index, term_at(index), configuration->index, configuration->bytes, event.directory};
  std::uint64_t trailing = 0;
  std::uint64_t bytes = 0;
  while (trailing < settings_.snapshot_trailing_entries && trailing < index - first_ + 1) {
    bytes += log_[index - trailing - first_].payload.size();
    if (bytes > settings_.snapshot_trailing_bytes) break;
    ++trailing;
  }
  const tl_raft_snapshot core = borrow(meta);
  const tl_raft_sink sink = Callbacks::sink(this);
  if (!check(tl_raft_snapshot_taken(raft_.get(), now_ms_, &core, static_cast<unsigned>(trailing), &sink), "snapshot")) {
    return;
  }
  for (std::uint64_t i = std::max(snapshot_index().value + 1, first_); i <= index; ++i) {
    bytes_since_snapshot_ -= log_[i - first_].payload.size();
  }
  snapshot_ = meta;
  out_->persist.snapshot = std::move(meta);
  drop_prefix(index - trailing + 1);
  out_->persist.first_kept = first_;
  while (configurations_.size() > 1 && configurations_[1].index <= index) configurations_.pop_front();
}

void RaftDriver::on(const RaftSnapshotFailed&) {
  snapshot_asked_ = false;
  snapshot_retry_at_ = applied_ + settings_.snapshot_threshold_entries / 8 + 1;
}

void RaftDriver::on(const RaftSnapshotInstalled&) {
  TIDELOCK_ASSERT(installing_.has_value());
  const RaftSnapshotMeta meta = std::move(*installing_);
  installing_.reset();
  snapshot_ = meta;
  configurations_.clear();
  configurations_.push_back({meta.configuration_index, meta.configuration});
  refresh_members();
  configured_ = meta.index;
  if (meta.index < applied_) {
    fail_with(Code::kCorrupt, "raft: a snapshot at " + std::to_string(meta.index) +
                                  " would undo applied entries up to " + std::to_string(applied_));
    return;
  }
  applied_ = meta.index;
  const tl_raft_snapshot core = borrow(meta);
  const tl_raft_sink sink = Callbacks::sink(this);
  check(tl_raft_persisted_snapshot(raft_.get(), now_ms_, &core, &sink), "installed");
}

// --- after each step

void RaftDriver::after_step() {
  while (!failed_) {
    const std::uint64_t at_term = term();
    const std::uint64_t commit = commit_index().value;
    if (at_term < term_seen_ || commit < commit_seen_) {
      fail_with(Code::kCorrupt, "raft: term or commit index fell: term " + std::to_string(term_seen_) + " to " +
                                    std::to_string(at_term) + ", commit " + std::to_string(commit_seen_) + " to " +
                                    std::to_string(commit));
      return;
    }
    term_seen_ = at_term;
    commit_seen_ = commit;
    if (!installing_ && tl_raft_last_index(raft_.get()) != last_index().value) {
      fail_with(Code::kCorrupt, "raft: the log ends at " + std::to_string(last_index().value) + ", the library says " +
                                    std::to_string(tl_raft_last_index(raft_.get())));
      return;
    }
    // Committed configurations first: they may end our leadership and thereby take another turn.
    while (configured_ < commit && (installing_ || configured_ + 1 < first_ || configured_ + 1 > last_index().value ||
                                    log_[configured_ + 1 - first_].type != RaftEntryType::kChange)) {
      ++configured_;
    }
    if (configured_ >= commit) break;
    ++configured_;
    const Bytes& bytes = log_[configured_ - first_].payload;
    const tl_raft_sink sink = Callbacks::sink(this);
    if (!check(tl_raft_configuration(raft_.get(), now_ms_, configured_, bytes.data(), bytes.size(), &sink),
               "configuration")) {
      return;
    }
  }
  if (failed_) return;
  if (members_.empty()) refresh_members();
  advance_change();
  if (failed_) return;
  advance_transfer();
  apply_committed();
  if (failed_) return;
  note_leadership();
  if (!snapshot_asked_ && !installing_ && applied_ > snapshot_index().value && applied_ >= snapshot_retry_at_ &&
      (applied_ - snapshot_index().value >= settings_.snapshot_threshold_entries ||
       bytes_since_snapshot_ >= settings_.snapshot_threshold_bytes)) {
    snapshot_asked_ = true;
    out_->take_snapshot = true;
  }
  std::uint64_t wake_ms = tl_raft_timeout_ms(raft_.get());
  if (wake_ms <= now_ms_) wake_ms = now_ms_ + 1;  // overdue: at the next millisecond, never in a tight loop
  out_->wake_at = static_cast<Nanos>(std::min<std::uint64_t>(wake_ms, kForever / kMillisecond - 1)) * kMillisecond;
}

void RaftDriver::apply_committed() {
  if (installing_) return;
  const std::uint64_t end = std::min(commit_index().value, tl_raft_last_stored(raft_.get()));
  while (applied_ < end) {
    const std::uint64_t index = applied_ + 1;
    if (index < first_ || index > last_index().value) {
      fail_with(Code::kCorrupt, "raft: committed entry " + std::to_string(index) + " is not in the log");
      return;
    }
    const RaftEntry& entry = log_[index - first_];
    if (entry.term < term_applied_ || entry.term > term_seen_) {
      fail_with(Code::kCorrupt, "raft: committed entry " + std::to_string(index) + " has term " +
                                    std::to_string(entry.term) + " after one of " + std::to_string(term_applied_));
      return;
    }
    term_applied_ = entry.term;
    applied_ = index;
    bytes_since_snapshot_ += entry.payload.size();
    if (!pending_.empty() && pending_.front().index == index) {
      pending_bytes_ -= pending_.front().bytes;
      pending_.pop_front();
    }
    if (entry.type == RaftEntryType::kCommand) out_->committed.push_back({Index{index}, entry.payload});
  }
}

void RaftDriver::note_leadership() {
  const RaftLeadership now{leading(), leader()};
  if (!now.leading) drop_pending(commit_index().value);  // what is committed is still handed out
  if (now.leader != 0 && (now.leader != leader_seen_ || term() != leader_term_seen_)) {
    leader_seen_ = now.leader;
    leader_term_seen_ = term();
    ++leader_changes_;
  }
  if (leadership_ == now) return;
  if (now.leading) leads_since_ = now_;
  leadership_ = now;
  out_->leadership = now;
}

// Nobody here will learn the end of what was submitted above `index`.
void RaftDriver::drop_pending(std::uint64_t index) {
  const auto first =
      std::find_if(pending_.begin(), pending_.end(), [index](const Pending& p) { return p.index > index; });
  for (auto it = first; it != pending_.end(); ++it) {
    out_->dropped.emplace_back(it->id, Code::kMaybeApplied);
    pending_bytes_ -= it->bytes;
  }
  pending_.erase(first, pending_.end());
}

void RaftDriver::fail_with(Code code, std::string message) {
  failed_ = true;
  if (!out_->failed) out_->failed = Error{code, std::move(message), {}, 0};
}

bool RaftDriver::check(int code, const char* what) {
  if (code != 0) fail_with(Code::kCorrupt, std::string("raft: ") + what + ": " + tl_raft_strerror(code));
  return !failed_;
}

// --- what the library demands

void RaftDriver::put_vote(std::uint64_t new_term, std::uint64_t voted_for) {
  vote_ = {new_term, voted_for};
  out_->persist.vote = vote_;
  out_->persist_first = true;
}

void RaftDriver::put_entries(std::uint64_t index, std::vector<RaftEntry> entries) {
  if (index > last_index().value + 1 || index < first_ || index <= applied_) {
    fail_with(Code::kCorrupt, "raft: asked to write entry " + std::to_string(index) + " into a log of " +
                                  std::to_string(first_) + " to " + std::to_string(last_index().value) +
                                  ", applied up to " + std::to_string(applied_));
    return;
  }
  truncate(index);
  Write write{++writes_total_, index, {}};
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const RaftEntry& entry = entries[i];
    write.terms.push_back(entry.term);
    log_bytes_ += entry.payload.size();
    if (entry.type == RaftEntryType::kChange) configurations_.push_back({index + i, entry.payload});
    log_.push_back(entry);
  }
  refresh_members();
  writes_.push_back(std::move(write));
  out_->persist.appends.push_back({index, std::move(entries)});
  out_->persist_no = writes_total_;
}

void RaftDriver::truncate(std::uint64_t index) {
  drop_pending(index - 1);  // before the commit index passes what stands there instead, which it may in this very step
  while (last_index().value >= index) {
    log_bytes_ -= log_.back().payload.size();
    log_.pop_back();
  }
  while (!configurations_.empty() && configurations_.back().index >= index) configurations_.pop_back();
}

void RaftDriver::drop_prefix(std::uint64_t first) {
  while (first_ < first && !log_.empty()) {
    log_bytes_ -= log_.front().payload.size();
    log_.pop_front();
    ++first_;
  }
}

void RaftDriver::send_append(std::uint64_t to, std::uint16_t version, std::uint64_t at_term, std::uint64_t prev_index,
                             std::uint64_t prev_term, std::uint64_t commit, std::uint64_t count) {
  std::uint64_t sent_bytes = 0;
  std::uint64_t left = count;
  do {
    std::uint64_t n = 0;
    std::uint64_t bytes = 0;
    while (n < left) {
      const std::uint64_t index = prev_index + 1 + n;
      if (index < first_ || index > last_index().value) {
        fail_with(Code::kCorrupt, "raft: asked to send entry " + std::to_string(index) + " of a log of " +
                                      std::to_string(first_) + " to " + std::to_string(last_index().value));
        return;
      }
      const RaftEntry& entry = log_[index - first_];
      // A configuration starts a message of its own: 0.22.1 notes the index of the first entry for it.
      if (n > 0 && (bytes + entry.payload.size() > settings_.message_bytes || entry.type == RaftEntryType::kChange))
        break;
      bytes += entry.payload.size();
      ++n;
    }
    Encoder encoder;
    std::uint64_t at = kWireAppendAt;
    encoder(version, settings_.number, to, at, at_term, prev_index, prev_term, commit,
            n);  // == encode(Wire{WireAppend})
    for (std::uint64_t i = 0; i < n; ++i) encoder(log_[prev_index + 1 + i - first_]);
    out_->send.push_back({to, encoder.take()});
    left -= n;
    sent_bytes += bytes;
    prev_index += n;
    if (left > 0) prev_term = term_at(prev_index);
  } while (left > 0 && sent_bytes < settings_.burst_bytes);  // the rest is lost as far as Raft knows, and is resent
}

void RaftDriver::send_install(std::uint64_t to, std::uint16_t version, std::uint64_t at_term) {
  if (!snapshot_) {
    fail_with(Code::kCorrupt, "raft: asked to send a snapshot, but there is none");
    return;
  }
  Wire wire{version, settings_.number, to,
            WireInstall{at_term, snapshot_->index, snapshot_->term, snapshot_->configuration_index,
                        snapshot_->configuration}};
  out_->snapshot_send.push_back({to, Index{snapshot_->index}, encode(wire)});
}

std::uint64_t RaftDriver::term_at(std::uint64_t index) const {
  if (index >= first_ && index - first_ < log_.size()) return log_[index - first_].term;
  return snapshot_ && snapshot_->index == index ? snapshot_->term : 0;
}

bool RaftDriver::leading() const { return tl_raft_is_leader(raft_.get()); }
std::uint64_t RaftDriver::leader() const { return tl_raft_leader(raft_.get()); }
std::uint64_t RaftDriver::term() const { return tl_raft_term(raft_.get()); }
Index RaftDriver::last_index() const { return {first_ + log_.size() - 1}; }
Index RaftDriver::commit_index() const { return {tl_raft_commit_index(raft_.get())}; }

const RaftEntry* RaftDriver::entry(Index index) const {
  if (index.value < first_ || index.value - first_ >= log_.size()) return nullptr;
  return &log_[index.value - first_];
}

}  // namespace tidelock
