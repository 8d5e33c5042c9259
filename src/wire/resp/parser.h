// RespParser cuts a client's bytes into commands: multibulk (`*2\r\n$3\r\nGET\r\n...`) and inline (`GET key\r\n`).
//
// Threads:   one.
// Split:     the same bytes give the same commands and the same error, however they were cut on their way (tested).
// Cost:      O(bytes). No recursion. Nothing is allocated for a length that was announced (X7): the buffer grows by
// what
//            arrived, at most twice that; in steady state a command allocates nothing.
// Errors:    texts are those of Redis 7.0. After an error the parser is dead: the connection answers it and closes.
// Stricter:  than Redis in one thing: a CR must be followed by LF, and a bulk by CRLF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tidelock {

// X6. All sizes in bytes.
struct RespLimits {
  std::size_t arguments_max = 1u << 20;        // of one command
  std::size_t bulk_bytes_max = 64u << 20;      // one argument
  std::size_t request_bytes_max = 128u << 20;  // one command as it lies on the wire; also what may wait in the buffer
  std::size_t inline_bytes_max = 64u << 10;    // an inline command, or a line with a length
  bool authenticated = true;                   // false: texts say "unauthenticated", as in Redis

  // 10 arguments, 16 KiB each, 1 MiB in all.
  static RespLimits before_authentication();
};

class RespParser {
 public:
  enum class Status : std::uint8_t { kNeedMore, kCommand, kError };

  explicit RespParser(RespLimits limits = {}) : limits_(limits) {}
  RespParser(const RespParser&) = delete;
  RespParser& operator=(const RespParser&) = delete;

  // Room for `bytes` more; then commit what was written there. Both end the life of args().
  char* prepare(std::size_t bytes);
  void commit(std::size_t bytes);
  void feed(std::string_view bytes);  // prepare, copy, commit

  // The next command, if it arrived whole. Empty commands (`*0`, `*-1`, an empty line) are skipped, as Redis does.
  Status next();
  // After kCommand, at least one; valid until the next call of next, prepare or feed.
  const std::vector<std::string_view>& args() const { return args_; }
  // After kError: "Protocol error: ...", without "ERR ".
  const std::string& error() const { return error_; }

  // Between commands: the second words of the next whole commands in the buffer, as far as a glance can tell; a hint,
  // never more than fit into `words`. How many; the views live as args() do.
  std::size_t upcoming(std::span<std::string_view> words) const;

  // Between commands only.
  void set_limits(const RespLimits& limits) { limits_ = limits; }
  const RespLimits& limits() const { return limits_; }

  std::size_t buffered() const { return end_ - begin_; }  // bytes not yet returned as commands
  std::size_t free_bytes() const { return capacity_ - end_; }
  // True while what is buffered may be grown. False: wait for commands to be taken.
  bool wants_bytes() const { return buffered() < limits_.request_bytes_max + limits_.inline_bytes_max + 2; }
  std::size_t memory_bytes() const;
  // Gives memory back that a rare large command needed. Ends the life of args(). Call when idle.
  void shrink();

 private:
  struct Span {
    std::size_t at = 0;  // from begin_
    std::size_t size = 0;
  };
  enum class Line : std::uint8_t { kFound, kPartial, kTooLong, kNoLineFeed };

  Line find_line(std::size_t* size);
  Status next_inline();
  Status next_multibulk();
  Status fail_with(std::string text);
  Status finish(std::size_t consumed);
  bool split_inline(char* line, std::size_t size);

  RespLimits limits_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;  // first byte of the command being parsed
  std::size_t end_ = 0;
  // State of the command being parsed, all relative to begin_.
  std::size_t at_ = 0;               // next byte to look at
  std::size_t scanned_ = 0;          // no line end before this
  std::int64_t arguments_left_ = 0;  // of a multibulk; 0: its header is not read yet
  std::int64_t bulk_size_ = -1;      // -1: the bulk's header is not read yet
  bool dead_ = false;
  std::vector<Span> spans_;
  std::vector<std::string_view> args_;
  std::string error_;
};

}  // namespace tidelock
