// EdgeCommands answers the Redis protocol's data commands from the core. GET of what is held here and SET of what lives
// here are answered at once; every other answer is deferred until the core gave it, which for what is held here happens
// inside the same call.
//
// Read-modify-write: of a write-through key at the hub (strong read, then a write on condition of its version, repeated
//           when another was faster); of any other key in this edge's overlay, in one piece on the loop's thread.
// Key space: KEYS, SCAN, RANDOMKEY and DBSIZE speak of those of this edge's copies (DESIGN 5) that their user may read
//           (X4). FLUSH*, which needs a user that may write every key, deletes what lives on this gateway only and
//           drops cached copies; it never deletes a value of the region, nor a write still to be sent.
// Several keys: keys of this gateway are changed as one unit: nothing else sees some of them new and some old. A
//           write-behind key may still be refused for itself (a full outbox); such keys are written first. Keys that
//           are written through are set at one index by MSET, MSETNX and EXEC (exec.cc; S4), and deleted so by DEL of
//           such keys alone, up to kKeysPerWriteMax; other DELs write key after key, RENAME and COPY hold the
//           destination by a condition and RENAME then removes the source if it is unchanged.
// Strings:  go through codec/typed_value.h; a hash answers WRONGTYPE.
// Word:     kReceiptsWanted of the connection's handler_word is TL.RECEIPT.
// Threads:  the loop's; listings run on the worker, which reads L2.
// Limits:   as the parser's; a pattern's work is capped; kCursorsMax open SCAN cursors: one that was dropped, or is of
//           another run or edge, is an error, never the end of the iteration.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "edge/core_loop.h"
#include "edge/edge.h"
#include "edge/health_table.h"
#include "edge/l2_store.h"
#include "edge/work_thread.h"
#include "store/models/store_care.h"
#include "wire/resp/server.h"
#include "wire/resp/set_options.h"

namespace tidelock {

class Breakers;  // breakers.h

class EdgeCommands : public CommandHandler {
 public:
  static constexpr std::size_t kCursorsMax = 4096;
  static constexpr std::int64_t kScanCountMax = 10'000;
  static constexpr std::size_t kListedMax = 1'000'000;  // keys of one KEYS

  // Everything outlives it but the server, which is told with `serve`.
  EdgeCommands(const EdgeConfig& config, CoreLoop& core, const L2Store& l2, EdgeWorker& worker, Breakers& breakers,
               std::function<std::string()> models_json, StoreCare& model_care);
  void serve(RespServer* server) { server_ = server; }
  HealthTable& health() { return health_; }

  void handle(ConnectionContext& connection, const std::vector<std::string_view>& args, RespReply& reply) override;
  void expect(std::span<const std::string_view> keys) override { core_.expect(keys); }
  bool settle() override { return core_.settle(); }
  // MULTI: commands that cannot be part of an EXEC at the hub are refused for keys that are written through it. A
  // write-behind key's answer may still be deferred (its acknowledgement, a value that is not here), and so are
  // listings: then EXEC waits, see wire/resp/server.h.
  std::string refuse_in_transaction(const CommandSpec& spec, const std::vector<std::string_view>& args) override;
  bool execute_together(ConnectionContext& connection, const std::vector<std::vector<std::string>>& commands,
                        const std::vector<std::string>& watched, bool allowed, RespReply& reply) override;
  Nanos expires_at(std::string_view key) override {
    core_.settle_first();  // memory does not know yet what was written together
    return core_.core().expires_at(key);
  }
  bool has_config_file() const override;
  std::optional<std::string> shutdown() override;

 private:
  using Arguments = std::vector<std::string_view>;
  struct Together;  // the state of an EXEC at the hub
  struct Asked {    // whom the answer is for
    ReplyToken token;
    int protocol = 2;
    std::shared_ptr<Together> together =
        {};  // a command of an EXEC at the hub: reads and writes there, answers at once
    std::shared_ptr<const ReadableKeys> readable = {};  // X4: what a listing may show; null: every key
  };
  struct Current {  // a key as a read-modify-write finds it
    bool present = false;
    Bytes value;
    Index version;
    Nanos ttl_left_ns = kForever;
  };
  // What to write, or nothing.
  using Compute = std::function<std::optional<KeyWrite>(const Current&)>;
  // `done` is null when nothing was written; else it is good.
  using Finish = std::function<void(RespReply&, const Current&, const WriteDoneOp* done)>;
  struct Gather;  // answers of several keys
  // What becomes of a string: an error as Redis words it, a write (of the key asked for), or nothing of both.
  struct StringChange {
    std::string refused;
    std::optional<KeyWrite> write;
  };
  // `text` is the string, empty when the key is absent. May be called again when another writer was faster.
  using ChangeString = std::function<StringChange(const Current&, BytesView text)>;
  using FinishString = std::function<void(RespReply&, const Current&, BytesView text)>;
  using ReadString = std::function<void(RespReply&, std::optional<BytesView> text, const ReadDone&)>;
  struct Move;  // RENAME, RENAMENX, COPY
  static constexpr std::uint64_t kReceiptsWanted = 1;

  void answer(const Asked& asked, const std::function<void(RespReply&)>& write);
  void answer_error(const Asked& asked, const std::string& text);
  bool through(std::string_view key) const;
  bool behind(std::string_view key) const;

  // Of one key, by the core or within `asked.together`.
  void read_one(const Asked& asked, std::string_view key, CoreLoop::OnRead done);
  // Each key for itself; what the hub must be asked for is asked for together (F8).
  using OnEachRead = std::function<void(std::size_t i, ReadDone done)>;
  void read_each(const Asked& asked, std::span<const std::string_view> keys, const Contract& contract, OnEachRead one);
  void write_one(const Asked& asked, KeyWrite write, CoreLoop::OnWrite done);
  // One unit; within `asked.together` everything is.
  void run_unit(const Asked& asked, std::function<void()> unit);
  void dispatch(const Asked& asked, RespCommand command, const Arguments& args);

  // exec.cc
  struct Exec;
  static bool runs_together(RespCommand command);
  // DEL of keys that are written through the hub, all of them.
  void erase_at_one_index(const Asked& asked, const Arguments& args);
  void try_together(std::shared_ptr<Exec> exec);
  void run_together(const std::shared_ptr<Exec>& exec, const std::shared_ptr<Together>& all);
  void again_together(std::shared_ptr<Exec> exec);
  void read_all_at_hub(const std::shared_ptr<Exec>& exec, std::function<void(std::shared_ptr<Together>)> then);

  // Why the core would refuse the write whatever the state; empty when it would not.
  static Result<void> writable(const KeyWrite& write);
  static std::string why_not_written(const KeyWrite& write);  // the same as an error reply
  // Within one unit. Stops at the first that is refused at once.
  void write_all(const Asked& asked, const std::vector<KeyWrite>& writes, std::function<void(RespReply&)> ok);

  // commands.cc
  void get(const Asked& asked, std::string_view key, std::function<void(RespReply&, const ReadDone&)> write);
  void erase(const Asked& asked, const Arguments& args);
  void exists(const Asked& asked, const Arguments& args);

  // strings.cc; the first three answer at once, or not at all: then the command takes the long way
  bool get_at_once(ConnectionContext& connection, std::string_view key, RespReply& reply);
  bool mget_at_once(ConnectionContext& connection, const Arguments& args, RespReply& reply);
  bool set_at_once(const SetArguments& args, bool answer_number, RespReply& reply);
  KeyWrite write_of(const SetArguments& args);
  void get_string(const Asked& asked, std::string_view key, ReadString write);
  void change_string(const Asked& asked, std::string_view key, ChangeString change, FinishString finish);
  void get_value(const Asked& asked, std::string_view key, bool with_receipt);
  void get_range(const Asked& asked, const Arguments& args);
  void get_and_change_expiry(const Asked& asked, const Arguments& args);
  void get_and_set(const Asked& asked, const Arguments& args);
  void get_and_delete(const Asked& asked, std::string_view key);
  void set(const Asked& asked, const SetArguments& args, bool answer_number);
  void set_and_get(const Asked& asked, const KeyWrite& write, bool only_if_absent, bool only_if_present);
  void set_range(const Asked& asked, const Arguments& args);
  void append(const Asked& asked, const Arguments& args);
  void increment(const Asked& asked, RespCommand command, const Arguments& args);
  void increment_float(const Asked& asked, const Arguments& args);
  void mget(const Asked& asked, const Arguments& args);
  void mset(const Asked& asked, const Arguments& args, bool only_if_none);

  // expiry.cc
  void ttl(const Asked& asked, RespCommand command, std::string_view key);
  void expire(const Asked& asked, const Arguments& args);
  void persist(const Asked& asked, std::string_view key);

  // moves.cc
  void copy(const Asked& asked, const Arguments& args);
  void rename(const Asked& asked, const Arguments& args, bool only_if_absent);
  void move(const Asked& asked, Move move);
  void move_through(const Asked& asked, const Move& move);
  void remove_moved(const Asked& asked, const Move& move, const Current& source);

  // tl_commands.cc
  void tl_get(const Asked& asked, const Arguments& args);
  void tl_mget(const Asked& asked, const Arguments& args);
  void tl_set(const Asked& asked, const Arguments& args);
  void tl_invalidate(const Asked& asked, std::string_view pattern);
  void tl_invalidate_some(const Asked& asked, std::shared_ptr<std::deque<std::string>> left, std::int64_t dropped);
  void tl_namespace(const Arguments& args, RespReply& reply) const;
  void tl_health(const Arguments& args, RespReply& reply);
  void tl_model(const Arguments& args, RespReply& reply);
  // tl_flush.cc
  struct Flush;
  void tl_flush(const Asked& asked, std::string_view prefix);
  void flush_some_of(const std::shared_ptr<Flush>& flush);
  void stop_flush(const std::shared_ptr<Flush>& flush, Code code, const std::string& why);
  static void tl_receipt(ConnectionContext& connection, const Arguments& args, RespReply& reply);

  // read_modify_write.cc
  void modify(const Asked& asked, std::string key, Compute compute, Finish finish);
  void modify_at_hub(const Asked& asked, std::string key, Compute compute, Finish finish, int tries_left);
  void with_local_copy(const std::string& key, std::function<void()> then);
  void with_local_copies(const std::vector<std::string>& keys, std::function<void()> then);
  void read_at_hub(const Asked& asked, const std::string& key, std::function<void(const Current&)> then);
  void find_at_hub(const std::string& key, std::function<void(const std::string& error, const Current&)> then);
  Current held(const std::string& key);
  void finish_write(const Asked& asked, const Finish& finish, const Current& current, const WriteDoneOp& done);

  // hashes.cc
  struct HashOutcome;
  // What to store; empty: the hash goes; nothing: it stays as it is. `stored` is empty when there is no such key.
  using HashEditor = std::function<Result<std::optional<Bytes>>(BytesView stored, HashOutcome& outcome)>;
  void hash_command(const Asked& asked, RespCommand command, const Arguments& args);
  void hash_set(const Asked& asked, RespCommand command, const Arguments& args);
  void hash_increment(const Asked& asked, const Arguments& args);
  void hash_increment_float(const Asked& asked, const Arguments& args);
  void hash_random(const Asked& asked, const Arguments& args);
  void hash_scan(const Asked& asked, const Arguments& args);
  void read_hash(const Asked& asked, std::string_view key, std::function<void(RespReply&, BytesView stored)> write);
  void edit_hash(const Asked& asked, std::string_view key, HashEditor edit,
                 std::function<void(RespReply&, const HashOutcome&)> finish);

  // keyspace.cc
  void keys(const Asked& asked, std::string_view pattern);
  void scan(const Asked& asked, const Arguments& args);
  void count_keys(const Asked& asked);
  void random_key(const Asked& asked);
  void object(const Asked& asked, const Arguments& args);
  void flush(const Asked& asked, const Arguments& args);
  void flush_some(const Asked& asked, std::shared_ptr<std::deque<std::string>> left);
  void on_worker(const Asked& asked, std::function<std::function<void()>()> work);
  void list_on_worker(const Asked& asked, std::function<std::function<void()>()> work);
  Result<std::optional<std::string>> list_visible(const Asked& asked, std::string_view after, std::size_t rows_max,
                                                  Nanos now,
                                                  const std::function<bool(const L2Store::Listed&)>& visit) const;
  std::uint64_t remember_cursor(std::string last, std::uint64_t before);

  // operator_commands.cc
  void memory_command(const Asked& asked, const Arguments& args);
  void memory_usage(const Asked& asked, std::string_view key);
  void memory_stats(const Asked& asked);
  void memory_doctor(const Asked& asked);
  void rewrite_config(const Asked& asked);

  // info.cc
  std::string info(const Arguments& sections) const;
  std::string tl_info() const;

  std::vector<std::optional<BytesView>> found_;  // by the MGET under way; kept for its room
  HealthTable health_;

  const EdgeConfig& config_;
  CoreLoop& core_;
  const L2Store& l2_;
  EdgeWorker& worker_;
  Breakers& breakers_;
  const std::function<std::string()> models_json_;
  StoreCare& model_care_;
  const Nanos started_at_;
  RespServer* server_ = nullptr;
  // SCAN. A step of an iteration has a number; numbers rise, so the one that was not gone on with for longest goes
  // first. A client may repeat the step whose answer it lost; with the one after it, it has told that it had that
  // answer.
  struct Cursor {
    std::string last;          // the key to go on behind
    std::uint64_t before = 0;  // the step that led here; 0: SCAN 0
  };
  std::map<std::uint64_t, Cursor> cursors_;
  std::uint64_t last_cursor_;
  std::string last_random_;  // RANDOMKEY looks on from there
};

// The instant `at_ms` of the Unix epoch as a lifetime that begins at the wall clock's `wall_ns`; 0: it has passed.
Nanos lifetime_until(std::int64_t at_ms, std::int64_t wall_ns);

}  // namespace tidelock
