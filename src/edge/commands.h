// EdgeCommands answers the Redis protocol's data commands from the core. Every answer is deferred until the core gave
// it, which for what is held here happens inside the same call.
//
// Read-modify-write: of a write-through key at the hub (strong read, then a write on condition of its version, repeated
//           when another was faster); of any other key in this edge's overlay, in one piece on the loop's thread.
// Key space: KEYS, SCAN, DBSIZE and FLUSH* speak of this edge's copies (DESIGN 5). FLUSH* deletes what lives on this
//           gateway only and drops cached copies; it never deletes a value of the region, nor a write still to be sent.
// Several keys: MSET and DEL write key after key; one index for several keys is `snapshot` and the strong writes of
//           operators (S4).
// Threads:  the loop's; listings run on the worker, which reads L2.
// Limits:   as the parser's; a pattern's work is capped; kCursorsMax open SCAN cursors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "edge/core_loop.h"
#include "edge/edge.h"
#include "edge/l2_store.h"
#include "edge/work_thread.h"
#include "wire/resp/server.h"
#include "wire/resp/set_options.h"

namespace tidelock {

class EdgeCommands : public CommandHandler {
 public:
  static constexpr std::size_t kCursorsMax = 4096;
  static constexpr std::int64_t kScanCountMax = 10'000;
  static constexpr std::size_t kListedMax = 1'000'000;  // keys of one KEYS

  // Everything outlives it but the server, which is told with `serve`.
  EdgeCommands(const EdgeConfig& config, CoreLoop& core, const L2Store& l2, EdgeWorker& worker,
               std::function<std::string()> models_json);
  void serve(RespServer* server) { server_ = server; }

  void handle(ConnectionContext& connection, const std::vector<std::string_view>& args, RespReply& reply) override;
  bool has_config_file() const override;
  std::optional<std::string> shutdown() override;

 private:
  using Arguments = std::vector<std::string_view>;
  struct Asked {  // whom the answer is for
    ReplyToken token;
    int protocol = 2;
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

  void answer(const Asked& asked, const std::function<void(RespReply&)>& write);
  void answer_error(const Asked& asked, const std::string& text);
  bool through(std::string_view key) const;
  bool behind(std::string_view key) const;

  // commands.cc
  void get(const Asked& asked, std::string_view key, std::function<void(RespReply&, const ReadDone&)> write);
  void set(const Asked& asked, const SetArguments& args, bool answer_number);
  void tl_get(const Asked& asked, const Arguments& args);
  void tl_set(const Asked& asked, const Arguments& args);
  void mget(const Asked& asked, const Arguments& args);
  void mset(const Asked& asked, const Arguments& args);
  void erase(const Asked& asked, const Arguments& args);
  void exists(const Asked& asked, const Arguments& args);
  void expire(const Asked& asked, const Arguments& args);
  void persist(const Asked& asked, std::string_view key);
  void get_and_delete(const Asked& asked, std::string_view key);
  void append(const Asked& asked, const Arguments& args);

  // read_modify_write.cc
  void modify(const Asked& asked, std::string key, Compute compute, Finish finish);
  void modify_at_hub(const Asked& asked, std::string key, Compute compute, Finish finish, int tries_left);
  void with_local_copy(const std::string& key, std::function<void()> then);
  Current held(const std::string& key);
  void finish_write(const Asked& asked, const Finish& finish, const Current& current, const WriteDoneOp& done);

  // keyspace.cc
  void keys(const Asked& asked, std::string_view pattern);
  void scan(const Asked& asked, const Arguments& args);
  void count_keys(const Asked& asked);
  void flush(const Asked& asked, const Arguments& args);
  void flush_some(const Asked& asked, std::shared_ptr<std::deque<std::string>> left);
  void on_worker(const Asked& asked, std::function<std::function<void()>()> work);
  std::uint64_t remember_cursor(std::string last);

  // operator_commands.cc
  void memory_command(const Asked& asked, const Arguments& args);
  void memory_usage(const Asked& asked, std::string_view key);
  void memory_stats(const Asked& asked);
  void memory_doctor(const Asked& asked);
  void rewrite_config(const Asked& asked);

  // info.cc
  std::string info(const Arguments& sections) const;
  std::string tl_info() const;

  const EdgeConfig& config_;
  CoreLoop& core_;
  const L2Store& l2_;
  EdgeWorker& worker_;
  const std::function<std::string()> models_json_;
  const Nanos started_at_;
  RespServer* server_ = nullptr;
  std::map<std::uint64_t, std::string> cursors_;  // number -> last key given; numbers rise, the oldest go
  std::uint64_t last_cursor_ = 0;
};

}  // namespace tidelock
