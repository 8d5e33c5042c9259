// RespReply appends answers to a string, as RESP2 or RESP3. Aggregates are written as a header with a count, followed
// by that many elements written by the caller (maps and attributes: twice that many).
//
// Threads: one. Cost: appends only. Ownership: `out` is borrowed.
// RESP2:   maps become flat arrays, sets and pushes arrays, doubles and verbatim strings bulks, booleans 1 and 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tidelock {

// Bytes of answers that stay where they are until they are sent: each piece comes before out[at].
struct RespReferences {
  struct Piece {
    std::size_t at = 0;
    std::string_view bytes;
  };
  std::vector<Piece> pieces;  // in order
  std::size_t bytes = 0;      // of all
};

class RespReply {
 public:
  // Values from this size on are worth a vector of their own in a system call.
  static constexpr std::size_t kReferenceBytesMin = 1024;

  // `protocol` is 2 or 3. Without `references` everything is copied into `out`.
  RespReply(std::string& out, int protocol, RespReferences* references = nullptr)
      : out_(out), protocol_(protocol), references_(references) {}

  int protocol() const { return protocol_; }

  void ok() { simple("OK"); }
  void simple(std::string_view text);  // CR and LF become spaces
  void error(std::string_view text);   // "ERR unknown command": the first word is the code; CR and LF become spaces
  void integer(std::int64_t value);
  void bulk(std::string_view bytes);
  // The same, but large ones may be left where they are: see ConnectionContext::copy_references.
  void bulk_reference(std::string_view bytes);
  void null();        // RESP2: $-1
  void null_array();  // RESP2: *-1
  void array(std::size_t elements);
  void map(std::size_t pairs);
  void set(std::size_t elements);
  void push(std::size_t elements);
  // False, with nothing written, in RESP2: then leave the pairs out.
  [[nodiscard]] bool attribute(std::size_t pairs);
  void number(double value);
  void boolean(bool value);
  void verbatim(std::string_view format, std::string_view text);  // format: three letters, "txt" or "mkd"
  void raw(std::string_view encoded) { out_.append(encoded); }

 private:
  void header(char type, std::int64_t value);

  std::string& out_;
  const int protocol_;
  RespReferences* const references_;
};

// A request as clients send it: an array of bulks.
void append_request(std::string& out, const std::string_view* args, std::size_t count);

}  // namespace tidelock
