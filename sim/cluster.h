// Cluster runs real hub cores, edge cores and outboxes over a simulated ledger, network, disks and pages, in one seed's
// virtual time, breaks what may break (sim/faults.h), and lets the judge see everything that anybody was told.
//
// A run:  load and faults for `faults_ns`; then a random majority of hubs and some edges are healed and must converge
//         while the rest stays broken (I10); then the rest; then three exact bounds are measured (cluster_end.cc).
// Judged: by what was recorded alone; every call of the judge is in cluster_judge.cc.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/elapsed_clock.h"
#include "protocol/edge_core.h"
#include "protocol/hub_core.h"
#include "protocol/pointer_in_force.h"
#include "sim/disk.h"
#include "sim/ledger.h"
#include "sim/network.h"
#include "sim/oracle/judge.h"
#include "sim/page.h"
#include "sim/plan.h"
#include "sim/recall_figures.h"
#include "sim/world.h"

namespace tidelock::sim {

struct ClusterReport {
  std::string violation;  // empty: every rule held
  Nanos violated_at = 0;
  std::uint64_t trace_hash = 0;
  std::uint64_t events = 0, reads = 0, page_reads = 0, strong_page_reads = 0, strong_reads = 0, writes = 0;
  std::uint64_t activations = 0, terms = 0, faults = 0, clock_faults = 0, broken_clock_answers = 0;
  std::uint64_t recalls_measured = 0;       // M7: whose certificate came when it was due
  std::uint64_t lease_lapses_measured = 0;  // edges whose lease was watched through a leader's death (R16)
  Nanos faults_ns = 0, virtual_ns = 0;      // of load and faults; with what follows
  oracle::Counts judged;
};

class Cluster : private LedgerHost {
 public:
  explicit Cluster(ClusterOptions options);
  ~Cluster() override;
  ClusterReport run();
  RecallFigures recall_in_a_fleet(int cut_off);  // instead of run (recall_figures.cc)

 private:
  struct Node {
    std::string name;
    int number = 0;
    NodeClock clock;
    bool up = false;
    bool busy = false;
    std::uint64_t incarnation = 0;
    Nanos paused_until = 0;
    std::deque<Task> inbox;
    Nanos wake_at = kForever;   // own clock
    Nanos armed_at = kForever;  // true time of the earliest timer that is on its way
  };
  struct HubRows : StateRows {
    std::optional<Bytes> row(std::string_view key) const override;
    void visit(std::string_view prefix, std::string_view from,
               const std::function<bool(std::string_view, std::string_view)>& visit) const override;
    SimDisk disk;
  };
  struct Hub : Node {
    NodeId id;
    HubRows rows;
    std::uint64_t commits = 0;
    std::unique_ptr<HubCore> core;
    Nanos active_since = 0;
  };
  struct SimStore : EdgeStore {
    std::optional<EdgeEntry> find(std::string_view key) const override;
    std::map<std::string, EdgeEntry, std::less<>> rows;
  };
  struct PendingRead {
    std::string key;
    Contract contract;
    Index floor;
    Consistency consistency;
    std::optional<EdgeEntry> hit;  // what memory answered just before the step
  };
  struct PendingWrite {
    std::string key;
    std::optional<Bytes> value;
    Stamp stamp;
    bool behind = false;
    std::uint64_t persisted_with = 0;  // the batch of rows that holds it; 0: none
  };
  struct Edge : Node {
    NodeId id;
    std::unique_ptr<EdgeCore> core;
    SimStore store;
    SimDisk outbox;
    Nanos disk_fails_until = 0;
    bool store_failed = false;  // in this boot
    bool joined = false;        // its disk knows of a welcome
    std::shared_ptr<Page> page;
    std::vector<L1> apps;
    std::vector<std::shared_ptr<Page>> app_pages;
    Nanos suspended_ns = 0;
    std::int64_t wall_offset_ms = 0;
    std::uint64_t wall_most_ms = 0;  // that it ever read when it wrote, or was to go on from (G8)
    int next_hub = 0;
    std::uint64_t next_token = 0;
    std::map<std::uint64_t, PendingRead> reads;
    std::map<std::uint64_t, PendingWrite> writes;
    std::vector<StagedModel> models;                      // verified here, in whatever boot
    std::set<std::string> recalled;                       // M7: versions that this process was told of
    Nanos told_at = kNever;                               // the last of them
    ModelHealth health;                                   // of the version in force, as its apps tell it
    std::vector<std::pair<Nanos, std::string>> in_force;  // since when which version was, by the ledger
    int crash_after_ops = -1;
    Index last_acked;
    LinkNo link;  // the current one
    std::uint64_t conn = 0;
    // C3: since when its clock runs outside rho, and the marks that it took since, and since it last slept.
    Nanos unsound_since = kForever;
    std::map<Nonce, Nanos> probes;               // true time at which the core decided to send each
    std::vector<std::pair<Nanos, Nanos>> marks;  // (sent, received), of one hub boot, oldest first
    Boot marks_of;
  };
  struct LivingPage {
    int edge = 0;
    oracle::PageNo number;
    std::weak_ptr<Page> page;
  };
  struct Conn {
    ConnId id;
    int edge = 0, hub = 0;
    std::uint64_t edge_incarnation = 0, hub_incarnation = 0;
    LinkNo link;
    Nanos last_to_hub = 0, last_to_edge = 0;
    Nanos cut_to_hub = kForever, cut_to_edge = kForever;  // what arrives later is lost
    bool open = true;
  };
  struct Client {  // an operator that repeats until it knows
    std::uint64_t boot = 0, sequence = 0, attempt = 0;
    bool rollout = false;
    int sends = 0;  // under this id
    std::optional<AdminRequest> request;
    int hub = 0;
    bool reading = false;
    std::string key;
    Index floor;
    int model = 0;  // rollout: the newest version published
    int next_step = 0;
    std::function<void(const AdminAnswer&)> then;  // instead of the next turn
  };

  // time and nodes (cluster.cc)
  void post(Node& node, std::uint64_t incarnation, Task what);
  void drain(Node& node);
  void pause(Node& node, Nanos span);
  template <class Tick>
  void arm(Node& node, Nanos wake_at, Tick tick);
  Nanos h(const Node& node) const { return node.clock.at(world_.now()); }
  Hub& hub_of(int number) { return *hubs_[static_cast<std::size_t>(number)]; }
  const Hub& hub_of(int number) const { return *hubs_[static_cast<std::size_t>(number)]; }
  Edge& edge_of(int number) { return *edges_[static_cast<std::size_t>(number)]; }
  Conn& conn_of(ConnId id) { return conns_[id.value - 1]; }
  bool has(Fault fault) const { return plan_.faults.has(fault); }

  // hubs and their ledger (cluster_hub.cc)
  void start_hub(Hub& hub);
  void crash_hub(Hub& hub, bool power);
  void step_hub(Hub& hub, decltype(HubEvent::what) what);
  int active_hub() const;  // -1: none, or more than one believe it
  Nanos clock(int hub) const override { return h(hub_of(hub)); }
  Nanos when(int hub, Nanos reading) const override { return hub_of(hub).clock.when(reading); }
  Nanos paused_until(int hub) const override { return hub_of(hub).paused_until; }
  Nanos arrival(int from, int to) override { return network_.arrival(from, to, 0); }
  Nanos link_opens(int from, int to) const override { return network_.opens(from, to); }
  bool disk_fails(int hub) override;
  bool append_goes_astray(int hub) override;
  SimSnapshot snapshot(int hub) override;
  void on_commit(Index index, const Bytes& command) override;
  void on_committed(int hub, Index index, const Bytes& command) override;
  void on_dropped(int hub, CommandId id, Code code) override;
  void on_leadership(int hub, bool leading, int leader) override;
  void on_install(int hub, const SimSnapshot& snapshot) override;
  void on_failed(int hub, const std::string& why) override;

  // edges (cluster_edge.cc)
  void start_edge(Edge& edge, bool revoke);
  void crash_edge(Edge& edge, bool power);
  void step_edge(Edge& edge, decltype(EdgeEvent::what) what);
  bool carry_out(Edge& edge, EdgeActions::Op& op, Nanos decided_at);
  void persist(Edge& edge, OutboxPersist& op);
  void ask_what_is_staged(Edge& edge);
  void stage_later(Edge& edge, const StrongChanged& changed);
  void watch_clock(Edge& edge, const HubFrame& frame);

  // network (cluster_net.cc)
  void open_link(Edge& edge, LinkNo link, const std::string& hint);
  void close_link(Edge& edge, LinkNo link);
  void send_to_hub(Edge& edge, LinkNo link, EdgeFrame frame);
  void send_to_edge(ConnId id, HubFrame frame);
  void close_by_hub(ConnId id);
  void cut(Conn& conn);
  void cut_all(const Node& node, bool is_hub);
  template <class Deliver>
  void pass(Nanos& last, int from, int to, std::size_t bytes, Deliver deliver);

  // load (cluster_load.cc)
  void start_load();
  void page_reader(int edge, int app);
  void read_page(Edge& edge, int app, const std::string& key, const Contract& contract);
  void snapshot_page(Edge& edge, int app);
  void edge_reader(int edge);
  void edge_writer(int edge);
  void client_turn(int client);
  void rollout_turn(int client);
  void ask(int client, decltype(AdminRequest::body) body, std::function<void(const AdminAnswer&)> then = {});
  void client_send(int client);
  void client_answer(int client, std::uint64_t attempt, int from, const AdminAnswer& answer, Nanos decided_at);
  void ask_edge(Edge& edge, const std::string& key, const Contract& contract);
  std::string any_key();
  Contract any_contract(const std::string& key);
  Bytes next_value() { return "w" + std::to_string(++values_); }
  Nanos soon(Nanos mean) { return world_.between(mean / 8, 2 * mean - mean / 8); }

  // rollouts (cluster_rollouts.cc)
  PointerInForce look_at_pointers(Edge& edge, std::shared_ptr<Page> page);
  void model_reader(int edge, int app);
  void model_reporter(int edge);
  std::optional<Rollout> rollout_of_ledger() const;
  RolloutCommand any_start(int model);
  bool waves_turn(int client);
  bool meddle(int client);
  std::string in_force_for(const Edge& edge) const;
  void judge_in_force(const Edge& edge, const PointerInForce& look, Nanos began);
  void judge_rollout(Index index, const std::vector<std::string>& changed);
  void judge_rollouts_end();

  // recalls (cluster_recalls.cc)
  bool recalled(const std::string& version) const;
  bool recall_something(int client);
  void judge_recalls(Index index);
  void judge_use(const Edge& edge, const PointerInForce& look, Nanos began);
  void told_of_recalls(Edge& edge, const VersionsRecalled& op);
  std::string unsettled_recalls(bool everybody) const;
  void measure_recall(Nanos way);
  void fleet_reader(int edge, const std::string& recalled, Nanos& last_use, RecallFigures& figures);

  // faults (cluster_faults.cc)
  void fault();
  void disrupt(Hub& hub);
  void partition(Nanos span);
  void restart_later(Hub& hub, Nanos least, Nanos most);
  void restart_later(Edge& edge, Nanos least, Nanos most);
  Nanos span(Nanos most);

  // the end (cluster_end.cc)
  void heal_some();
  void heal_all();
  // Runs until `done` says nothing is left, or for `most`; what is left then is a violation of `rule`.
  bool settle(const std::string& rule, Nanos most, const std::function<std::string()>& left);
  std::string unsettled(bool everybody);
  Nanos settle_time() const;
  void measure_bounds();
  bool activate_in(Nanos most, const std::string& rule, decltype(AdminRequest::body) body);

  // the judge (cluster_judge.cc)
  void judge_told(const Edge& edge, const oracle::Told& told);
  void judge_hub_answer(const Client& client, const AdminAnswer& answer, Nanos decided_at);
  void judge_sent(const Conn& conn, const HubFrame& frame);
  void judge_answered(AskToken token, const AdminAnswer& answer);
  bool took(const Edge& edge, const EdgeFrameIn& in, const EdgeActions& actions) const;
  void judge_void(const Edge& edge, const HubFrame& frame);
  void judge_edge_step(Edge& edge, const decltype(EdgeEvent::what)& what, const EdgeActions& actions);
  void judge_page_op(const Edge& edge, const EdgeActions::Op& op);  // before the page shows it
  void judge_pages_of(const Edge& edge, const std::function<void(oracle::PageNo)>& tell);
  void judge_edge_sent(Edge& edge, const EdgeFrame& frame);
  void judge_client_void(const Client& client);
  ClockReading read_clock(const Edge& edge) const;
  std::optional<EdgeEntry> held_at(Edge& edge, const std::string& key);
  void judge_read_done(Edge& edge, const ReadDone& done, Nanos decided_at);
  void judge_write_done(Edge& edge, const WriteDoneOp& done);
  void judge_snapshot(const std::string& where, const std::vector<std::string>& names, const std::vector<Index>& floors,
                      const std::vector<ReadOutcome>& outcomes);
  bool judge_commit(Index index, const Bytes& command);  // did it take effect?
  void judge_activation(Index index);
  void judge_end();  // I7, I8

  ClusterOptions options_;
  World world_;
  Plan plan_;
  Network network_;
  oracle::Judge judge_;
  std::vector<std::unique_ptr<Hub>> hubs_;
  std::vector<std::unique_ptr<Edge>> edges_;
  std::vector<Client> clients_;
  std::unique_ptr<SimLedger> ledger_;
  std::deque<Conn> conns_;           // by ConnId, from 1
  std::vector<std::uint64_t> open_;  // ids of those that may be open
  std::vector<LivingPage> pages_;    // orphaned ones too, while an app maps them
  struct Asked {
    int client = 0;
    std::uint64_t attempt = 0;
    bool write = false;
  };
  std::map<std::uint64_t, Asked> asked_;                        // by ask token
  std::map<std::pair<int, std::uint64_t>, CommandId> through_;  // (edge, request) -> id, of the current session
  std::map<CommandId, RequestNo> last_request_;                 // what the edge still waits for
  std::uint64_t next_ask_ = 0, values_ = 0, boots_ = 0;
  bool load_ = true, faults_ = true;
  std::set<int> core_hubs_, core_edges_;  // healed while the rest is not
  Index goal_;                            // of the log: every healed hub must have applied it
  Nanos watch_lapses_after_ = kForever;   // R16: of this instant on no lease of `watched_` may lapse
  std::set<int> watched_;
  std::optional<Rollout> rollout_before_;      // of the entries judged so far
  std::map<std::string, Nanos> certified_at_;  // M7: "MODEL VERSION" -> true time of its certificate
  Nanos wave_at_ = kNever;                     // true time at which its latest wave was activated
  bool ledger_clock_lagged_ = false;           // a hub did not know how much time had passed (C2)
  ClusterReport report_;
};

template <class Tick>
void Cluster::arm(Node& node, Nanos wake_at, Tick tick) {
  node.wake_at = wake_at;
  if (wake_at == kForever) return;
  const Nanos due = std::max(world_.now(), node.clock.when(wake_at));
  if (due >= node.armed_at && node.armed_at > world_.now()) return;  // the earlier timer looks again
  node.armed_at = due;
  world_.at(due, [this, &node, incarnation = node.incarnation, due, tick] {
    if (node.incarnation != incarnation || node.armed_at != due) return;
    node.armed_at = kForever;
    if (node.wake_at == kForever) return;
    if (h(node) < node.wake_at) return arm(node, node.wake_at, tick);
    node.wake_at = kForever;
    post(node, incarnation, tick);
  });
}

}  // namespace tidelock::sim
