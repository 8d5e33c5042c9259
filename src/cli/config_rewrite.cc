// CONFIG REWRITE of an edge: only lines of [config] and [users] change, all others stay as people wrote them. The edit
// looks at lines, not at TOML; so its result is read back, and takes the file's place only when it says exactly what it
// should and nothing else changed.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "cli/config.h"

namespace tidelock {
namespace {

using Values = std::map<std::string, std::string>;

std::string_view trimmed(std::string_view line) {
  const std::size_t from = line.find_first_not_of(" \t\r");
  return from == std::string_view::npos ? std::string_view{}
                                        : line.substr(from, line.find_last_not_of(" \t\r") - from + 1);
}

std::string toml_text(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string key_text(const std::string& name) {
  const bool bare = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
  return bare ? name : toml_text(name);
}

bool is_header(std::string_view line, const std::string& table) {
  const std::string head = "[" + table + "]";
  line = trimmed(line);
  if (!line.starts_with(head)) return false;
  line = trimmed(line.substr(head.size()));
  return line.empty() || line[0] == '#';
}

// Where a line's key ends, and its value with what follows begins; npos: no such line.
std::size_t equals_of(std::string_view line) {
  const std::string_view text = trimmed(line);
  if (text.empty() || text[0] == '#' || text[0] == '[') return std::string_view::npos;
  char quote = 0;
  for (std::size_t i = static_cast<std::size_t>(text.data() - line.data()); i < line.size(); ++i) {
    if (quote != 0) {
      if (line[i] == '\\' && quote == '"')
        ++i;
      else if (line[i] == quote)
        quote = 0;
    } else if (line[i] == '"' || line[i] == '\'') {
      quote = line[i];
    } else if (line[i] == '=') {
      return i;
    }
  }
  return std::string_view::npos;
}

// "  # why" behind a value of one line, with the blanks before it.
std::string_view comment_of(std::string_view value) {
  std::size_t at = value.find_first_not_of(" \t");
  if (at == std::string_view::npos) return {};
  if (value[at] == '"' || value[at] == '\'') {
    const char quote = value[at];
    for (++at; at < value.size() && value[at] != quote; ++at) at += value[at] == '\\' && quote == '"';
    at = std::min(at + 1, value.size());
  } else {
    at = std::min(value.find('#'), value.size());
    while (at > 0 && (value[at - 1] == ' ' || value[at - 1] == '\t')) --at;
  }
  return value.substr(at);
}

// Makes the table say `wanted` where it says `now`.
void edit_table(std::vector<std::string>& lines, const std::string& table, const Values& now, const Values& wanted) {
  if (now == wanted) return;
  const auto head =
      std::find_if(lines.begin(), lines.end(), [&](const std::string& line) { return is_header(line, table); });
  std::set<std::string> there;
  std::vector<std::string> out(lines.begin(), head == lines.end() ? head : head + 1);
  auto line = head == lines.end() ? head : head + 1;
  if (head == lines.end()) {
    if (!out.empty() && !trimmed(out.back()).empty()) out.emplace_back();
    out.push_back("[" + table + "]  # kept by CONFIG REWRITE");
  }
  std::size_t last = out.size();  // behind the last line of the table that is not blank
  for (; line != lines.end() && !trimmed(*line).starts_with('['); ++line) {
    const std::size_t equals = equals_of(*line);
    if (equals == std::string::npos) {
      out.push_back(*line);
    } else {
      std::string_view written = trimmed(std::string_view(*line).substr(0, equals));
      const auto named = std::find_if(now.begin(), now.end(), [&](const auto& one) {
        return written == one.first || written == toml_text(one.first) || written == "'" + one.first + "'";
      });
      const auto value = named == now.end() ? wanted.end() : wanted.find(named->first);
      if (named == now.end()) {
        out.push_back(*line);
      } else if (value != wanted.end()) {
        there.insert(named->first);
        if (value->second == named->second) {
          out.push_back(*line);
        } else {
          out.push_back(line->substr(0, equals) + "= " + toml_text(value->second) +
                        std::string(comment_of(std::string_view(*line).substr(equals + 1))));
        }
      }
    }
    if (!out.empty() && !trimmed(out.back()).empty()) last = std::max(last, out.size());
  }
  last = std::min(last, out.size());
  std::vector<std::string> more;
  for (const auto& [name, value] : wanted) {
    if (!there.contains(name)) more.push_back(key_text(name) + " = " + toml_text(value));
  }
  out.insert(out.begin() + static_cast<std::ptrdiff_t>(last), more.begin(), more.end());
  out.insert(out.end(), line, lines.end());
  lines = std::move(out);
}

Values users_of(const std::vector<std::string>& lines) {
  Values users;
  for (const std::string& line : lines) {
    const std::size_t space = std::min(line.find(' '), line.size());
    users[line.substr(0, space)] = line.substr(std::min(space + 1, line.size()));
  }
  return users;
}

// All but the two tables, to be compared.
std::string rest_of(EdgeSettings settings) {
  settings.edge.users.clear();
  settings.edge.parameters.clear();
  return print_config(settings) + settings.edge.requirepass;
}

}  // namespace

Result<void> rewrite_edge_config(const std::string& path, const EdgeRedisSettings& kept) {
  std::error_code error;
  const std::string real = std::filesystem::canonical(path, error).string();
  if (error) return fail(Code::kInvalid, path + ": " + error.message());
  const auto before = read_edge_config(real);
  if (!before) return fail(before.error());
  const auto text = read_file(real);
  if (!text) return fail(text.error());
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\n', at), text->size());
    lines.push_back(text->substr(at, end - at));
    at = end + 1;
  }
  const Values parameters_now(before->edge.parameters.begin(), before->edge.parameters.end());
  Values parameters = parameters_now;  // what was not changed while it ran stays
  for (const auto& [name, value] : kept.parameters) parameters[name] = value;
  const Values users = users_of(kept.users);
  edit_table(lines, "config", parameters_now, parameters);
  edit_table(lines, "users", users_of(before->edge.users), users);
  std::string edited;
  for (const std::string& line : lines) edited += line + "\n";

  struct stat info{};
  if (::stat(real.c_str(), &info) != 0) return fail(Code::kInvalid, real + ": " + std::strerror(errno));
  const std::string fresh = real + ".new";
  ::unlink(fresh.c_str());  // of an attempt that was cut short
  if (auto written = write_file(fresh, edited, info.st_mode & 0777); !written) return written;
  const auto after = read_edge_config(fresh);
  const bool good = after && rest_of(*after) == rest_of(*before) && users_of(after->edge.users) == users &&
                    Values(after->edge.parameters.begin(), after->edge.parameters.end()) == parameters;
  if (!good) {
    ::unlink(fresh.c_str());
    return fail(Code::kInvalid, real + ": its lines could not be edited safely" +
                                    (after ? std::string() : " (" + after.error().message + ")") +
                                    "; write each entry of [config] and [users] on one line");
  }
  if (::rename(fresh.c_str(), real.c_str()) != 0) {
    const int cause = errno;
    ::unlink(fresh.c_str());
    return fail(Code::kBusy, real + ": " + std::strerror(cause));
  }
  const int folder = ::open(std::filesystem::path(real).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
  return {};
}

}  // namespace tidelock
