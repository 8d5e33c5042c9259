// COMMAND DOCS: the table's line of arguments ("key value [NX | XX] [EX seconds | PX milliseconds]") taken apart into
// the tree that redis-cli draws its hints from. The lines are ours and constant, so is the depth of the recursion.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "wire/resp/command_answers.h"

namespace tidelock {
namespace {

struct Argument {
  enum class Kind : std::uint8_t { kPlain, kPureToken, kOneOf, kBlock };
  Kind kind = Kind::kPlain;
  std::string name, token;
  bool optional = false, multiple = false;
  std::vector<Argument> inside;
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

bool is_token(std::string_view word) {
  return std::none_of(word.begin(), word.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

class Syntax {
 public:
  explicit Syntax(std::string_view line) {
    std::string word;
    for (const char c : line) {
      if (c == ' ' || c == '[' || c == ']' || c == '|') {
        if (!word.empty()) words_.push_back(std::exchange(word, {}));
        if (c != ' ') words_.emplace_back(1, c);
      } else {
        word += c;
      }
    }
    if (!word.empty()) words_.push_back(word);
  }
  std::vector<Argument> all() { return alternatives(); }

 private:
  bool more() const { return at_ < words_.size() && words_[at_] != "]"; }
  bool word_here() const { return more() && words_[at_] != "[" && words_[at_] != "|" && words_[at_] != "..."; }

  // What stands between brackets, or on the whole line; one that is a choice comes as one argument.
  std::vector<Argument> alternatives() {
    std::vector<std::vector<Argument>> choices{sequence()};
    while (more() && words_[at_] == "|") {
      ++at_;
      choices.push_back(sequence());
    }
    if (choices.size() == 1) return std::move(choices[0]);
    Argument one;
    one.kind = Argument::Kind::kOneOf;
    for (auto& choice : choices) one.inside.push_back(block(std::move(choice)));
    one.name = one.inside[0].name;
    return {std::move(one)};
  }
  static Argument block(std::vector<Argument> parts) {
    if (parts.size() == 1) return std::move(parts[0]);
    Argument whole;
    whole.kind = Argument::Kind::kBlock;
    for (const Argument& part : parts) whole.name += (whole.name.empty() ? "" : "_") + part.name;
    whole.inside = std::move(parts);
    return whole;
  }
  std::vector<Argument> sequence() {
    std::vector<Argument> parts;
    while (more() && words_[at_] != "|") {
      if (words_[at_] == "...") {
        ++at_;
        repeated_ = true;
      } else if (words_[at_] == "[") {
        ++at_;
        brackets(parts);
      } else {
        Argument argument;
        const std::string word = words_[at_++];
        argument.name = lower(word);
        if (is_token(word)) {
          argument.kind = Argument::Kind::kPureToken;
          argument.token = word;
          if (word_here() && !is_token(words_[at_])) {
            argument.kind = Argument::Kind::kPlain;
            argument.name = words_[at_++];
          }
        }
        parts.push_back(std::move(argument));
      }
    }
    return parts;
  }
  // "[field value ...]" behind "field value" says that those may be repeated.
  void brackets(std::vector<Argument>& parts) {
    const bool outer = std::exchange(repeated_, false);
    std::vector<Argument> inside = alternatives();
    ++at_;  // the closing one
    const bool repeats = std::exchange(repeated_, outer);
    const bool again =
        repeats && inside.size() <= parts.size() &&
        std::equal(inside.begin(), inside.end(), parts.end() - static_cast<std::ptrdiff_t>(inside.size()),
                   [](const Argument& a, const Argument& b) { return a.name == b.name; });
    if (again) parts.resize(parts.size() - inside.size());
    Argument whole = block(std::move(inside));
    whole.multiple = repeats;
    whole.optional = !again;
    parts.push_back(std::move(whole));
  }

  std::vector<std::string> words_;
  std::size_t at_ = 0;
  bool repeated_ = false;
};

std::string_view type_of(const Argument& argument) {
  switch (argument.kind) {
    case Argument::Kind::kPureToken: return "pure-token";
    case Argument::Kind::kOneOf: return "oneof";
    case Argument::Kind::kBlock: return "block";
    case Argument::Kind::kPlain: break;
  }
  const std::string_view name = argument.name;
  if (name == "key" || name == "newkey" || name == "source" || name == "destination") return "key";
  if (name == "pattern") return "pattern";
  if (name.starts_with("unix-time")) return "unix-time";
  for (const std::string_view number : {"seconds", "milliseconds", "ms", "count", "cursor", "index", "increment",
                                        "offset", "start", "end", "protover", "bits", "destination-db"}) {
    if (name == number) return "integer";
  }
  return "string";
}

void write_arguments(const std::vector<Argument>& arguments, RespReply& reply, int& keys) {
  reply.array(arguments.size());
  for (const Argument& argument : arguments) {
    const std::string_view type = type_of(argument);
    const bool flags = argument.optional || argument.multiple;
    reply.map(2 + (type == "key") + !argument.token.empty() + flags + !argument.inside.empty());
    reply.bulk("name");
    reply.bulk(argument.name);
    reply.bulk("type");
    reply.bulk(type);
    if (type == "key") {
      reply.bulk("key_spec_index");
      reply.integer(keys++);
    }
    if (!argument.token.empty()) {
      reply.bulk("token");
      reply.bulk(argument.token);
    }
    if (flags) {
      reply.bulk("flags");
      reply.set(static_cast<std::size_t>(argument.optional) + argument.multiple);
      if (argument.optional) reply.simple("optional");
      if (argument.multiple) reply.simple("multiple");
    }
    if (!argument.inside.empty()) {
      reply.bulk("arguments");
      write_arguments(argument.inside, reply, keys);
    }
  }
}

}  // namespace

void write_docs(const CommandLookup& command, RespReply& reply) {
  const CommandSpec& spec = *command.spec;
  const bool container = is_container(spec.id) && command.sub == nullptr;
  std::vector<Argument> arguments;
  if (!container && command.sub == nullptr) arguments = Syntax(spec.arguments).all();
  reply.bulk(command.full_name());
  reply.map(3 + !arguments.empty() + container);
  reply.bulk("summary");
  reply.bulk(command.sub ? command.sub->summary : spec.summary);
  reply.bulk("since");
  reply.bulk(command.sub ? command.sub->since : spec.since);
  reply.bulk("group");
  reply.bulk(spec.group);
  if (!arguments.empty()) {
    int keys = 0;
    reply.bulk("arguments");
    write_arguments(arguments, reply, keys);
  }
  if (!container) return;
  std::size_t count = 0;
  for (const SubcommandSpec& sub : subcommand_table()) count += sub.parent == spec.id;
  reply.bulk("subcommands");
  reply.map(count);
  for (const SubcommandSpec& sub : subcommand_table()) {
    if (sub.parent == spec.id) write_docs({&spec, &sub}, reply);
  }
}

}  // namespace tidelock
