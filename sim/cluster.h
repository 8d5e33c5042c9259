// Cluster runs real hub cores, edge cores and outboxes over a model ledger, a model network and model pages, in one
// seed's virtual time, breaks what can break, and lets History judge everything that anybody was told.
//
// Faults: crashes of hubs and edges between any two actions (kill and power loss), pauses anywhere, suspends,
// partitions, broken streams that lose their tail, failovers with several hubs that believe they lead, appends with
// unknown outcome that commit much later, snapshots, clocks with any offset and any rate within rho. After `faults_ns`
// everything is healed, and the cluster must converge (I10).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "protocol/edge_core.h"
#include "protocol/hub_core.h"
#include "sim/history.h"
#include "sim/ledger.h"
#include "sim/page.h"
#include "sim/world.h"

namespace tidelock::sim {

struct ClusterOptions {
  std::uint64_t seed = 1;
  int hubs = 3;
  int edges = 0;  // 0: two to four, by chance
  Nanos faults_ns = 12 * kSecond;
  Nanos quiet_ns = 40 * kSecond;
  bool verbose = false;
};

struct ClusterReport {
  std::string violation;  // empty: every rule held
  std::uint64_t trace_hash = 0;
  std::uint64_t events = 0, reads = 0, page_reads_served = 0, strong_page_reads_served = 0, writes_acknowledged = 0;
  std::uint64_t terms = 0;
};

class Cluster : private LedgerHost {
 public:
  explicit Cluster(ClusterOptions options);
  ~Cluster() override;
  ClusterReport run();

 private:
  struct Node {
    NodeClock clock;
    bool up = false;
    bool busy = false;
    std::uint64_t incarnation = 0;
    Nanos paused_until = 0;
    std::deque<std::function<void()>> inbox;
    std::uint64_t wake_no = 0;
  };
  struct Hub : Node {
    int number = 0;
    NodeId id;
    MapRows rows;
    std::unique_ptr<HubCore> core;
  };
  struct SimStore : EdgeStore {
    std::optional<EdgeEntry> find(std::string_view key) const override;
    std::map<std::string, EdgeEntry, std::less<>> rows;
    const EdgeActions* step = nullptr;  // what this step has stored so far
  };
  struct PendingRead {
    std::string key;
    Contract contract;
    Index floor;
    Consistency consistency;
  };
  struct PendingWrite {
    std::string key;
    std::optional<Bytes> value;
    Stamp stamp;
    bool behind = false;
  };
  struct Edge : Node {
    int number = 0;
    NodeId id;
    std::unique_ptr<EdgeCore> core;
    SimStore store;
    std::map<Bytes, Bytes> outbox;  // as the kernel has it
    std::map<Bytes, Bytes> outbox_disk;
    std::deque<std::pair<std::uint64_t, OutboxRows>> unsynced;
    std::shared_ptr<Page> page;
    std::vector<L1> apps;
    std::vector<std::shared_ptr<Page>> app_pages;
    Nanos suspended_ns = 0;
    std::int64_t wall_offset_ms = 0;
    int next_hub = 0;
    std::uint64_t next_token = 0;
    std::map<std::uint64_t, PendingRead> reads;
    std::map<std::uint64_t, PendingWrite> writes;
    int crash_after_ops = -1;
    Index last_acked;
    LinkNo link;  // the current one
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
    int sends = 0;  // under this id
    std::optional<AdminRequest> request;
    int hub = 0;
    bool reading = false;
    std::string key;
    Index floor;
  };

  // time and nodes
  void post(Node& node, std::uint64_t incarnation, std::function<void()> what);
  void drain(Node& node);
  void pause(Node& node, Nanos span);
  Nanos h(const Node& node) const { return node.clock.at(world_.now()); }

  // ledger
  Hub& hub_of(int number) { return *hubs_[static_cast<std::size_t>(number)]; }
  const Hub& hub_of(int number) const { return *hubs_[static_cast<std::size_t>(number)]; }
  Nanos clock(int hub) const override;
  Nanos when(int hub, Nanos reading) const override;
  Nanos paused_until(int hub) const override;
  Nanos arrival(int from, int to) override;
  Nanos link_opens(int from, int to) const override;
  bool disk_fails(int hub) override;
  bool append_goes_astray(int hub) override;
  SimSnapshot snapshot(int hub) override;
  void on_commit(Index index, const Bytes& command) override;
  void on_committed(int hub, Index index, const Bytes& command) override;
  void on_dropped(int hub, CommandId id, Code code) override;
  void on_leadership(int hub, bool leading, int leader) override;
  void on_install(int hub, const SimSnapshot& snapshot) override;
  void on_failed(int hub, const std::string& why) override;

  // hubs
  void start_hub(Hub& hub);
  void crash_hub(Hub& hub);
  void step_hub(Hub& hub, decltype(HubEvent::what) what);

  // edges
  void start_edge(Edge& edge, bool revoke);
  void crash_edge(Edge& edge, bool power);
  void step_edge(Edge& edge, decltype(EdgeEvent::what) what);
  bool carry_out(Edge& edge, EdgeActions::Op& op, Nanos decided_at);
  void on_read_done(Edge& edge, const ReadDone& done, Nanos decided_at);
  void on_write_done(Edge& edge, const WriteDoneOp& done);

  // network
  void open_link(Edge& edge, LinkNo link, const std::string& hint);
  void cut(Conn& conn);
  Nanos reach(int edge, int hub) const;
  Nanos network_delay();

  // load
  void page_reader(int edge, int app);
  void read_page(Edge& edge, int app, const std::string& key, const Contract& contract);
  void snapshot_page(Edge& edge, int app);
  void edge_reader(int edge);
  void edge_writer(int edge);
  void client_turn(int client);
  void client_send(int client);
  void client_answer(int client, std::uint64_t attempt, int from, const AdminAnswer& answer);
  void fault();
  void check_lease(const Applied& applied);  // I3
  void check_end(Index settled);
  std::string any_key();
  Contract any_contract(const std::string& key);
  Bytes next_value() { return "w" + std::to_string(++values_); }

  ClusterOptions options_;
  World world_;
  History history_;
  Seed seed_;
  std::vector<std::unique_ptr<Hub>> hubs_;
  std::vector<std::unique_ptr<Edge>> edges_;
  std::vector<Client> clients_;
  std::unique_ptr<SimLedger> ledger_;
  std::map<std::uint64_t, Conn> conns_;
  std::map<std::pair<int, int>, Nanos> partitioned_until_;  // (edge, hub)
  std::map<std::pair<int, int>, Nanos> hubs_apart_until_;   // (from, to)
  std::vector<std::pair<int, std::weak_ptr<Page>>> pages_;  // (edge, page): living and orphaned
  struct Asked {
    int client = 0;
    std::uint64_t attempt = 0;
    bool write = false;
    CommandId id;
  };
  std::map<std::uint64_t, Asked> asked_;                        // by ask token
  std::map<std::pair<int, std::uint64_t>, CommandId> through_;  // (edge, request) -> id, of the current session
  std::map<CommandId, RequestNo> last_request_;                 // what the edge still waits for
  std::uint64_t next_conn_ = 0, next_ask_ = 0, values_ = 0, boots_ = 0;
  bool load_ = true, faults_ = true;
  ClusterReport report_;
};

}  // namespace tidelock::sim
