// ModelKeeper brings model versions to this gateway and verifies them (M3, M4), so that activating one costs no
// download.
//
// It follows the pointers `model:NAME:staged@default`, `model:NAME:current@default` and, while a rollout has taken this
// gateway ahead, `model:NAME:current@next` (M5). A version named by one of them is fetched (resumed at the byte where
// it stopped), laid out in the model room, checked (signature before a byte is parsed, then hashes, then golden outputs
// in the real engine), marked with `tidelock.verified`, and reported to the hub. Versions no pointer names any more are
// removed; the one in force and the one before are never (M8).
//
// Threads:  a thread of its own does the work and may block on network and disk; every public method is for any thread
// and
//           only queues.
// Restart:  what is placed is verified again and reported again; without any hub with the key kept from the last
// session. Errors:   a failure is reported once per cause, and retried: after a lost link soon, otherwise each minute
// and with each
//           new session.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "codec/manifest.h"
#include "edge/edge.h"
#include "edge/in_force_marks.h"
#include "edge/model_fetch.h"
#include "edge/model_figures.h"
#include "edge/model_imports.h"
#include "edge/model_pointers.h"
#include "edge/model_recalls.h"
#include "edge/model_rehash.h"
#include "edge/model_room.h"
#include "edge/model_trust.h"
#include "protocol/admin.h"
#include "protocol/edge_core.h"
#include "store/kv/kv.h"
#include "store/models/store_care.h"
#include "telemetry/metrics.h"

namespace tidelock {

class ModelKeeper {
 public:
  struct Links {
    // Reads a key under its namespace's contract; `done` may come on any thread, or never when the edge stops.
    std::function<void(std::string key, std::function<void(ReadDone)> done)> read;
    std::function<void(EdgeStagedModel)> report;
    // The version in force, whenever it is another one and verified here: its activation, and the folder with its
    // files.
    std::function<void(Index activation, std::string folder, Manifest manifest)> in_force = {};
    std::function<void(const std::string& name, const std::string& version)> recalled = {};  // M7; also at each start
  };
  // `config`, `kv` (with kMetaFamily), `clock` and `metrics` outlive it. Opens the stores; start() begins to work.
  static Result<std::unique_ptr<ModelKeeper>> open(const EdgeConfig& config, Kv& kv, const Clock& clock,
                                                   Metrics& metrics, Links links);
  ~ModelKeeper();
  void start();
  void stop();  // waits for a call to a hub to end, seconds at most; idempotent

  void on_session(NodeId hub, Bytes model_key);
  void on_strong_changed(const std::string& key, std::optional<Bytes> value, Index version);
  void on_recalled(std::vector<StagedModel> versions);  // M7
  void on_round_trip(Nanos ns) { fetch_->on_round_trip(ns); }
  // What this gateway knows of the versions that its pointers name; the apps' part is not in it. Any thread.
  std::vector<ModelHealth> figures() const { return figures_.list(); }
  std::uint64_t link_bytes_per_s() const { return link_bytes_per_s_.load(std::memory_order_relaxed); }
  std::string json() const { return figures_.json(); }
  StoreCare& care() { return *care_; }

 private:
  struct SessionCame {
    NodeId hub;
    Bytes model_key;
  };
  struct ReadFailed {  // or is due for another reason
    std::string key;
    Nanos wait_ns = 0;
  };
  struct Mending;
  struct Damaged {  // X3: as somebody says; it is looked at again
    std::vector<CheckedFile> files;
    std::shared_ptr<Mending> mending;  // who waits; null: nobody
  };
  struct Run {  // on the keeper's thread
    std::function<void()> what;
  };
  struct RecallsCame {
    std::vector<StagedModel> versions;
  };
  using Item = std::variant<SessionCame, PointerCame, ReadFailed, Damaged, Run, RecallsCame>;
  struct Failure {
    std::string cause;
    Nanos retry_at = 0;
    Nanos backoff_ns = 0;
    bool paused = false;     // M3: by a budget or by the hours
    bool of_repair = false;  // of a manifest that cannot be read here: who names the version may get it from a hub
  };

  ModelKeeper(const EdgeConfig& config, Kv& kv, const Clock& clock, Metrics& metrics, Links links);
  void push(Item item);
  void run();
  void take(SessionCame& session);
  void take(PointerCame& came);
  void take(const ReadFailed& failed);
  void take(Damaged& damaged);
  void take(const Run& run) { run.what(); }
  void take(RecallsCame& came);
  void read_pointer(const std::string& key);
  void take_read(const std::string& key, ReadDone done);  // any thread
  void refresh_trust();
  void look_at_trust();
  void forget_what_is_not_allowed();
  void describe_models();
  void verify_placed();
  void verify_one(const VersionKey& key);
  void work();
  void attempt(const std::string& name, ModelPointer pointer, const char* role);
  bool go_on(const std::string& name, const std::string& version);
  void take_queue(std::deque<Item> items);
  void failed(const VersionKey& key, const Error& error);
  Result<void> ensure(const std::string& name, const ModelPointer& pointer, const char* role);
  Result<Bytes> signed_manifest(const std::string& name, const ModelPointer& pointer);
  void measure_link(std::uint64_t bytes, Nanos took);
  void prune();
  void ask_for_ring(const std::string& name);
  Result<void> make_room(const std::string& name, const Manifest& manifest);
  Result<AdminAnswer> ask(AdminRequest request);
  // model_keeper_care.cc
  template <class T>
  Result<T> on_thread(std::function<Result<T>()> what);
  Result<std::vector<StoredRelease>> releases() const;
  std::vector<std::string> mend(const std::vector<CheckedFile>& broken);
  Result<std::vector<Garbage>> collect(bool remove);
  void look_at_file(Bytes sha256);
  void unverified(const VersionKey& key, const Error& error);
  Result<void> reread(const VersionKey& key, const Manifest& manifest);
  bool doubts_due() const;
  void look_at_doubted();
  bool repair_due() const;
  void repair_damaged(std::set<VersionKey>& named);
  void end_mending();
  void show();
  // model_keeper_import.cc
  Result<void> open_imports(StoreCareOwner& owner);
  bool named(const VersionKey& key) const;
  Result<ImportedBundle> import_bundle(const std::string& path, const StoreCareOwner::Progress& progress);
  Result<std::unique_ptr<BlobStore::Writer>> open_import_writer(const ManifestFile& file);
  Result<ImportTerms> begin_import(const Bytes& signed_manifest, const Manifest& manifest);
  Result<ImportTerms> end_import(const VersionKey& key, bool good, bool known);
  std::string other_content(const VersionKey& key, BytesView manifest_sha256) const;
  bool knows_pointers() const;
  bool drop_imports(const VersionKey& but);
  Result<std::vector<Garbage>> collect_imported(bool remove);
  bool stopping() const;
  static bool proves_nothing(Code code, bool whole_file);

  const EdgeConfig& config_;
  Kv& kv_;
  const Clock& clock_;
  const Links links_;

  // the thread's
  std::unique_ptr<ModelRoom> room_;
  std::unique_ptr<ModelFetch> fetch_;
  NodeId hub_;  // of the last session
  Bytes model_key_;
  std::optional<ModelTrust> trust_;
  bool trust_expired_ = false;
  Nanos trust_look_at_ = 0;
  std::optional<ModelRecalls> recalls_;
  std::unique_ptr<ModelImports> imports_;  // came on a stick, and no pointer has named it yet
  std::set<std::string> unlisted_;         // models whose list of recalls could not be written
  bool describe_due_ = false;
  Nanos describe_at_ = 0;
  std::map<std::string, Nanos> reads_due_;  // pointer keys to read again, and when
  std::size_t reads_open_ = 0;              // of pointers, not answered yet
  ModelPointers pointers_;
  std::map<VersionKey, Failure> failures_;
  std::map<VersionKey, Bytes> manifests_;  // signed, of versions that are on their way here
  std::map<VersionKey, std::uint64_t> fetched_bytes_;
  std::set<VersionKey> damaged_;                    // on their way back: until verified again, or no longer allowed
  std::vector<std::shared_ptr<Mending>> mendings_;  // who waits for that
  Nanos doubted_look_at_ = 0;                       // again at what could not be read, as long as there is no hub
  InForceMarks marks_;
  std::set<std::string> ring_asked_, no_ring_;      // models whose ring was asked for here, and that have none
  std::atomic<std::uint64_t> link_bytes_per_s_{0};  // of the last files that were worth a measurement

  ModelFigures figures_;
  Counter& damaged_files_;
  std::unique_ptr<ModelRehash> rehash_;
  std::unique_ptr<StoreCare> care_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tidelock
