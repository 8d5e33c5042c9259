// For tests: conversations of several clients, written as a table of steps. A step sends one command and reads as many
// values as it expects, so that nothing is waited for but what must come.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wire/resp/reply.h"
#include "wire/resp/server_fixture.h"
#include "wire/resp/socket.h"
#include "wire/resp/value.h"

namespace tidelock {

// `who` ends in 3: it speaks RESP3. `line`: words; "$x" stands for the id of client x; empty: only read; "close": the
// client goes. `expected`: every value that is read, pushes with ">" in front.
struct Step {
  std::string who, line;
  std::vector<std::string> expected;
};
using Script = std::vector<Step>;

class Conversation {
 public:
  explicit Conversation(std::string address) : address_(std::move(address)) {}

  void run(const Script& script) {
    for (std::size_t i = 0; i < script.size() && !testing::Test::HasFatalFailure(); ++i) {
      const Step& step = script[i];
      const std::string where = "step " + std::to_string(i + 1) + ": " + step.who + " " + step.line.substr(0, 200);
      if (step.line == "close") {
        clients_.erase(step.who);
        continue;
      }
      Client& client = client_of(step.who);
      if (!step.line.empty()) send(client, step.line);
      for (const std::string& expected : step.expected) ASSERT_EQ(read(client), expected) << where;
    }
  }
  std::int64_t id_of(const std::string& who) { return client_of(who).id; }
  // All that a client was sent after its greeting.
  std::map<std::string, std::string> bytes() const {
    std::map<std::string, std::string> all;
    for (const auto& [who, client] : clients_) all[who] = client->bytes;
    return all;
  }

 private:
  struct Client {
    int fd = -1;
    std::int64_t id = 0;
    RespReplyParser parser;
    std::string bytes;
    ~Client() {
      if (fd >= 0) ::close(fd);
    }
  };

  Client& client_of(const std::string& who) {
    auto& client = clients_[who];
    if (client) return *client;
    client = std::make_unique<Client>();
    const auto fd = connect_socket(address_, kPatience);
    EXPECT_TRUE(fd) << address_;
    if (!fd) return *client;
    client->fd = *fd;
    ::fcntl(*fd, F_SETFL, ::fcntl(*fd, F_GETFL) & ~O_NONBLOCK);
    if (who.back() == '3') {
      send(*client, "HELLO 3");
      read(*client);
    }
    send(*client, "CLIENT ID");
    client->id = std::stoll(read(*client));
    client->bytes.clear();
    return *client;
  }
  void send(Client& client, const std::string& line) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < line.size();) {
      const std::size_t end = std::min(line.find(' ', at), line.size());
      std::string word = line.substr(at, end - at);
      if (word.starts_with("$")) word = std::to_string(id_of(word.substr(1)));
      words.push_back(std::move(word));
      at = end + 1;
    }
    const std::vector<std::string_view> views(words.begin(), words.end());
    std::string request;
    append_request(request, views.data(), views.size());
    EXPECT_EQ(::send(client.fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  }
  static std::string read(Client& client) {
    RespValue value;
    for (;;) {
      const auto status = client.parser.next(&value);
      if (status == RespReplyParser::Status::kValue) break;
      if (status == RespReplyParser::Status::kError) return "! " + client.parser.error();
      pollfd wanted{client.fd, POLLIN, 0};
      if (::poll(&wanted, 1, static_cast<int>(kPatience / kMillisecond)) <= 0) return "! nothing came";
      char buffer[4096];
      const ssize_t got = ::recv(client.fd, buffer, sizeof buffer, 0);
      if (got <= 0) return "closed";
      client.bytes.append(buffer, static_cast<std::size_t>(got));
      client.parser.feed({buffer, static_cast<std::size_t>(got)});
    }
    return (value.type == RespType::kPush ? ">" : "") + to_text(value);
  }

  const std::string address_;
  std::map<std::string, std::unique_ptr<Client>> clients_;
};

}  // namespace tidelock
