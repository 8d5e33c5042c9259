// Work on a set of actions is a small machine of its own (Stage): it can be left at every step for the disk, a pause or
// for ever, and is resumed by run(). Events of the old life of a process are void: they carry the life they were made
// for.
#include "sim/raft_world.h"

#include <algorithm>

#include "base/assert.h"

namespace tidelock::sim {

constexpr Nanos kNoticesJumpsWithin = kSecond;  // as RaftLedger cuts its waits

RaftWorld::RaftWorld(World& world, RaftWorldOptions options, RaftApp& app, RaftSurroundings& surroundings)
    : world_(world),
      options_(std::move(options)),
      app_(app),
      around_(surroundings),
      oracle_(world, options_.commands_unique) {
  for (std::size_t i = 0; i < options_.members; ++i) add_machine();
  for (const auto& m : members_) first_members_.push_back({m->number, m->address, RaftRole::kVoter});
}
RaftWorld::~RaftWorld() = default;

std::size_t RaftWorld::add_machine() {
  auto m = std::make_unique<Member>();
  const std::size_t i = members_.size();
  m->number = i + 1;
  m->address = "hub-" + std::to_string(i);
  around_.added(i);
  places_[m->number] = i;
  oracle_.knows(m->number, &m->disk);
  members_.push_back(std::move(m));
  return i;
}

std::optional<std::size_t> RaftWorld::place(std::uint64_t number) const {
  const auto it = places_.find(number);
  return it == places_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<std::size_t> RaftWorld::leader() const {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (!at(i).up || !driver(i).leading()) continue;
    if (!found || driver(i).term() > driver(*found).term()) found = i;
  }
  return found;
}

void RaftWorld::tell(std::size_t i, const std::string& what) const { world_.say(at(i).address + " " + what); }

// --- processes

void RaftWorld::boot(std::size_t i) {
  Member& m = at(i);
  if (m.up || world_.failed()) return;
  ++counts_.boots;
  ++m.life;
  m.work.reset();
  m.inbox.clear();
  m.waiting.reset();
  m.running = m.waits_for_disk = m.snapshotting = false;
  m.paused_until = 0;
  m.wake_at = m.timer_at = m.resumes_at = kForever;
  m.disk_free = world_.now();
  auto loaded = m.disk.load();
  m.damaged = !loaded;
  world_.trace(10, i, m.damaged);
  if (!loaded) {  // D4: it neither votes nor acknowledges
    ++counts_.refused_to_load;
    if (loaded.error().code != Code::kCorrupt) world_.violated("a store refused to load: " + loaded.error().message);
    return tell(i, "does not start: " + loaded.error().message);
  }
  if (m.disk.lied()) return world_.violated(m.address + " loaded another log than was synced");
  const std::optional<RaftSnapshotMeta> snapshot = loaded->snapshot;
  const Index snapshot_index{snapshot ? snapshot->index : 0};
  const Index applied = app_.restarts(i, snapshot_index);
  if (world_.verbose()) {
    tell(i, "starts: term " + std::to_string(loaded->vote.term) + ", entries " + std::to_string(loaded->first_index) +
                " to " + std::to_string(loaded->first_index + loaded->entries.size() - 1) + ", applied " +
                std::to_string(applied.value));
  }
  oracle_.started(m.number, applied);
  RaftDriverSettings settings = options_.settings;
  settings.number = m.number;
  settings.address = m.address;
  settings.seed = static_cast<std::uint32_t>(world_.rng().next());
  settings.applied = applied;
  m.driver = std::make_unique<RaftDriver>();
  Work work;
  const bool founds = i < options_.members && m.life == 1;
  auto started = m.driver->start(settings, std::move(*loaded), founds ? first_members_ : std::vector<RaftServer>{},
                                 around_.clock(i), work.actions);
  if (!started) return world_.violated(m.address + " does not start: " + started.error().message);
  m.up = true;
  if (snapshot_index > applied) {
    const auto files = m.files.find(snapshot->directory);
    if (files == m.files.end() || files->second.index != snapshot_index) {
      return world_.violated(m.address + " has lost the files of its snapshot");
    }
    app_.install(i, snapshot_index, files->second.state);
    oracle_.installed(m.number, snapshot_index);
  }
  if (work.actions.wake_at != kForever) m.wake_at = work.actions.wake_at;
  m.work = std::move(work);
  judge(i);
  run(i);
}

void RaftWorld::crash(std::size_t i) {
  Member& m = at(i);
  if (!m.up) return;
  ++counts_.crashes;
  world_.trace(11, i);
  tell(i, "crashes");
  m.up = false;
  ++m.life;
  m.disk.crash(world_.rng());
  m.under_way.clear();
  m.disk_held = false;
  m.syncs_held = 0;
  m.driver.reset();
  oracle_.synced(m.number);
}

void RaftWorld::end(std::size_t i, const std::string& why) {
  crash(i);
  app_.on_ended(i, why);
}

void RaftWorld::pause(std::size_t i, Nanos span) {
  Member& m = at(i);
  if (!m.up) return;
  tell(i, "stands still");
  m.paused_until = std::max(m.paused_until, world_.now() + span);
  arm(i);
}

void RaftWorld::resume(std::size_t i) {
  at(i).paused_until = 0;
  if (at(i).up) run(i);
}

void RaftWorld::propose(std::size_t i, std::vector<RaftProposal> proposals) {
  if (world_.verbose()) {
    for (const RaftProposal& p : proposals) {
      tell(i, "is asked to append command " + std::to_string(p.id.sequence) + ", '" + p.command.substr(0, 20) + "'");
    }
  }
  ask(i, RaftProposed{std::move(proposals)});
}

void RaftWorld::ask(std::size_t i, decltype(RaftEvent::what) what) {
  if (!at(i).up) return;
  at(i).inbox.push_back({std::move(what), {}});
  run(i);
}

// --- one process at work

// Goes on until there is nothing to do, or something to wait for.
void RaftWorld::run(std::size_t i) {
  Member& m = at(i);
  if (m.running) return;
  const std::uint64_t life = m.life;
  const auto may_go_on = [&] {
    return m.up && m.life == life && !m.waits_for_disk && world_.now() >= stopped_until(i) && !world_.failed();
  };
  m.running = true;
  while (may_go_on()) {
    if (!m.work && !take(i)) break;
    while (may_go_on() && m.work && carry_out(i)) {
    }
  }
  if (m.life != life) return;
  m.running = false;
  arm(i);
}

void RaftWorld::arm(std::size_t i) {
  Member& m = at(i);
  if (!m.up || m.waits_for_disk) return;
  if (const Nanos stopped = stopped_until(i); world_.now() < stopped) {
    if (m.resumes_at == stopped) return;
    m.resumes_at = stopped;
    world_.at(stopped, [this, i, life = m.life] {
      if (at(i).life == life) run(i);
    });
    return;
  }
  if (m.wake_at == kForever) return;
  const Nanos when = std::clamp(around_.when(i, m.wake_at), world_.now() + 1, world_.now() + kNoticesJumpsWithin);
  if (m.timer_at <= when) return;
  m.timer_at = when;
  world_.at(when, [this, i, life = m.life, when] {
    Member& later = at(i);
    if (later.life != life || later.timer_at != when) return;
    later.timer_at = kForever;
    run(i);
  });
}

void RaftWorld::step(std::size_t i, decltype(RaftEvent::what) what, RaftActions& out) {
  Member& m = at(i);
  m.driver->step(RaftEvent{around_.clock(i), std::move(what)}, out);
  if (out.failed) return world_.violated(m.address + " gave up: " + out.failed->message);
  if (out.wake_at != kForever) m.wake_at = out.wake_at;
}

// What has arrived becomes one set of actions.
bool RaftWorld::take(std::size_t i) {
  Member& m = at(i);
  const bool due = around_.clock(i) >= m.wake_at;
  if (m.inbox.empty() && !due) return false;
  m.work = Work{};
  RaftActions& actions = m.work->actions;
  std::uint64_t room = 1 + world_.rng().below(options_.batch_max);
  while (room-- > 0 && !m.inbox.empty() && !actions.install && !world_.failed()) {
    Input input = std::move(m.inbox.front());
    m.inbox.pop_front();
    if (input.files && m.snapshotting) {  // an install comes with nothing in flight
      m.waiting = std::move(input);
      continue;
    }
    m.work->files = std::move(input.files);
    if (const auto* taken = std::get_if<RaftSnapshotTaken>(&input.what)) {
      m.snapshotting = false;
      const std::string directory = taken->directory;
      step(i, std::move(input.what), actions);
      if (!actions.persist.snapshot || actions.persist.snapshot->directory != directory) m.files.erase(directory);
      break;
    }
    if (std::holds_alternative<RaftSnapshotFailed>(input.what)) m.snapshotting = false;
    step(i, std::move(input.what), actions);
  }
  if (!m.snapshotting && m.waiting) {
    m.inbox.push_front(std::move(*m.waiting));
    m.waiting.reset();
  }
  if (!world_.failed() && !actions.install && around_.clock(i) >= m.wake_at) step(i, RaftTick{}, actions);
  judge(i);
  return true;
}

void RaftWorld::judge(std::size_t i) {
  Member& m = at(i);
  if (world_.failed() || !m.driver->leading()) return;
  const RaftDriver& driver = *m.driver;
  oracle_.leads(
      m.number, driver.term(), [&driver](std::uint64_t index) { return driver.entry({index}); },
      driver.snapshot_index().value);
}

// Killed, or stopped for a while, right here.
bool RaftWorld::struck(std::size_t i) {
  if (options_.struck_one_in != 0 && world_.rng().one_in(options_.struck_one_in)) {
    end(i, "struck between two actions");
    return true;
  }
  if (options_.paused_one_in != 0 && world_.rng().one_in(options_.paused_one_in)) {
    pause(i, world_.between(kMillisecond, world_.chance(900) ? 100 * kMillisecond : 4 * kSecond));
    return true;
  }
  return false;
}

// One action. False: leave it for now, or for ever.
bool RaftWorld::carry_out(std::size_t i) {
  Member& m = at(i);
  Work& work = *m.work;
  RaftActions& actions = work.actions;
  const auto next_stage = [&work](Stage stage) {
    work.stage = stage;
    work.next = 0;
    return true;
  };
  switch (work.stage) {
    case Stage::kVote:
      next_stage(Stage::kSend);
      if (!actions.persist_first) return true;
      work.persisted = true;
      return write(i, actions.persist, actions.persist_no, true);
    case Stage::kSend:
      if (work.next == actions.send.size()) return next_stage(Stage::kSendSnapshot);
      {
        RaftSend& one = actions.send[work.next++];
        send(i, one.to, one.message, std::nullopt);
      }
      return !struck(i);
    case Stage::kSendSnapshot:
      if (work.next == actions.snapshot_send.size()) return next_stage(Stage::kWrite);
      {
        RaftSnapshotSend& one = actions.snapshot_send[work.next++];
        const auto files =
            std::find_if(m.files.begin(), m.files.end(), [&](const auto& f) { return f.second.index == one.index; });
        if (files == m.files.end()) {
          world_.violated(m.address + " is to send a snapshot that it does not have");
          return false;
        }
        send(i, one.to, one.message, files->second);
      }
      return !struck(i);
    case Stage::kWrite: {
      next_stage(Stage::kCommitted);
      if (actions.persist_first || actions.persist.empty()) return true;
      const bool overlaps = options_.overlap_writes && !actions.install;
      work.persisted = !overlaps;
      return write(i, actions.persist, actions.persist_no, !overlaps);
    }
    case Stage::kCommitted:
      if (work.next == actions.committed.size()) return next_stage(Stage::kDropped);
      {
        const LedgerEntry& entry = actions.committed[work.next++];
        world_.trace(12, i, entry.index.value);
        oracle_.handed_out(m.number, entry, [this] {
          RaftOracle::Configurations newest;
          for (const auto& member : members_) {
            if (member->driver) newest.push_back(member->driver->members());
          }
          return newest;
        });
        if (world_.verbose()) tell(i, "has committed entry " + std::to_string(entry.index.value));
        app_.on_committed(i, entry);
      }
      return !struck(i);
    case Stage::kDropped:
      for (const auto& [id, code] : actions.dropped) {
        if (world_.verbose()) {
          tell(i, "drops command " + std::to_string(id.sequence) + ": " + std::string(code_name(code)));
        }
        app_.on_dropped(i, id, code);
      }
      for (const RaftEnded& end : actions.ended) {
        if (world_.verbose()) {
          tell(i, "ends change " + std::to_string(end.ticket) + ": " + std::string(code_name(end.code)) + " " +
                      end.message);
        }
        app_.on_change_ended(i, end);
      }
      return next_stage(Stage::kLeadership);
    case Stage::kLeadership:
      if (actions.leadership) {
        const std::uint64_t number = actions.leadership->leader;
        if (world_.verbose()) {
          tell(i, std::string(actions.leadership->leading ? "leads" : "follows ") +
                      (actions.leadership->leading ? "" : std::to_string(number)) + " in term " +
                      std::to_string(m.driver->term()));
        }
        app_.on_leadership(i, actions.leadership->leading, place(number));
      }
      return next_stage(Stage::kSnapshot);
    case Stage::kSnapshot:
      if (actions.take_snapshot) start_snapshot(i);
      return next_stage(actions.install ? Stage::kInstall : Stage::kDone);
    case Stage::kInstall: {
      next_stage(Stage::kInstalled);
      if (!work.files || work.files->index.value != actions.install->index) {
        world_.violated(m.address + " is to install a snapshot whose files it does not have");
        return false;
      }
      work.directory = "arrived-" + std::to_string(++m.directories);
      m.files[work.directory] = *work.files;
      RaftPersist persist;
      persist.snapshot = *actions.install;
      persist.snapshot->directory = work.directory;
      persist.reset_log = true;
      return write(i, persist, 0, true);
    }
    case Stage::kInstalled:
      ++counts_.installs;
      world_.trace(13, i, actions.install->index);
      if (world_.verbose()) tell(i, "installs a snapshot at " + std::to_string(actions.install->index));
      app_.install(i, {actions.install->index}, work.files->state);
      oracle_.installed(m.number, {actions.install->index});
      return next_stage(Stage::kDone);
    case Stage::kDone: break;
  }
  const std::uint64_t persist_no = work.persisted ? actions.persist_no : 0;
  const bool installed = actions.install.has_value();
  m.work.reset();
  if (persist_no == 0 && !installed) return true;
  m.work = Work{};
  if (persist_no != 0) step(i, RaftPersisted{persist_no}, m.work->actions);
  if (installed && !world_.failed()) step(i, RaftSnapshotInstalled{}, m.work->actions);
  judge(i);
  return !world_.failed();
}

void RaftWorld::start_snapshot(std::size_t i) {
  Member& m = at(i);
  m.snapshotting = true;
  world_.in(world_.between(100 * kMicrosecond, 30 * kMillisecond), [this, i, life = m.life] {
    Member& later = at(i);
    if (later.life != life) return;
    auto made = app_.copy(i);
    if (!made) return ask(i, RaftSnapshotFailed{});
    ++counts_.snapshots;
    const std::string directory = "own-" + std::to_string(++later.directories);
    later.files[directory] = {made->first, std::move(made->second)};
    ask(i, RaftSnapshotTaken{made->first, directory});
  });
}

// --- disk

// True when the caller may go on at once.
bool RaftWorld::write(std::size_t i, const RaftPersist& persist, std::uint64_t persist_no, bool blocks) {
  Member& m = at(i);
  if (const DiskFault fault = around_.disk_fault(i); fault != DiskFault::kNone) m.disk.fail_next(fault);
  if (auto written = m.disk.write(persist); !written) {
    ++counts_.ended_by_disk;
    end(i, written.error().message);
    return false;
  }
  m.under_way.push_back({persist_no, blocks});
  m.waits_for_disk = blocks;
  m.disk_free = std::max(m.disk_free, world_.now()) + world_.between(m.disk_low, m.disk_high);
  world_.at(m.disk_free, [this, i, life = m.life] {
    if (at(i).life == life) disk_done(i);
  });
  return !blocks;
}

void RaftWorld::disk_done(std::size_t i) {
  Member& m = at(i);
  if (m.disk_held) {
    ++m.syncs_held;
    return;
  }
  ++counts_.syncs;
  if (!m.disk.synced(world_.rng())) {
    ++counts_.ended_by_disk;
    return end(i, "its disk failed to sync");
  }
  oracle_.synced(m.number);
  world_.trace(14, i, m.disk.image().log.size());
  const RaftImage& image = m.disk.image();
  if (image.snapshot) {
    std::erase_if(m.files, [&](const auto& f) { return f.second.index.value < image.snapshot->index; });
  }
  const Member::UnderWay done = m.under_way.front();
  m.under_way.pop_front();
  if (done.blocks) {
    m.waits_for_disk = false;
  } else if (done.persist_no != 0) {
    m.inbox.push_back({RaftPersisted{done.persist_no}, {}});
  }
  run(i);
}

void RaftWorld::set_disk_pace(std::size_t i, Nanos low, Nanos high) {
  at(i).disk_low = low;
  at(i).disk_high = high;
}

void RaftWorld::hold_disk(std::size_t i) { at(i).disk_held = true; }

void RaftWorld::release_disk(std::size_t i) {
  Member& m = at(i);
  m.disk_held = false;
  for (; m.syncs_held > 0; --m.syncs_held) {
    world_.at(world_.now(), [this, i, life = m.life] {
      if (at(i).life == life) disk_done(i);
    });
  }
}

// --- network

void RaftWorld::send(std::size_t from, std::uint64_t to, const Bytes& message, std::optional<Files> files) {
  ++counts_.messages;
  world_.trace(15, from, hash64(message));
  const auto peek = RaftPeek::at(message);
  if (!peek) return world_.violated(at(from).address + " sent a message that cannot be read");
  oracle_.sent(at(from).number, to, *peek);
  if (world_.failed()) return;
  if (world_.verbose()) world_.say(peek->text());
  if (filter && !filter(*peek)) return;
  const std::size_t place = places_.at(to);
  const bool bulk = files.has_value();
  around_.carry(from, place, bulk, [this, from, place, message, files = std::move(files)] {
    Member& m = at(place);
    if (!m.up) return;
    m.inbox.push_back({RaftReceived{at(from).number, message}, files});
    run(place);
  });
}

}  // namespace tidelock::sim
