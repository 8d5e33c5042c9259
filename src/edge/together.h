// Inside of EdgeCommands: one try of an EXEC whose keys are written through the hub. Its commands run here, on what the
// hub had of their keys; what they leave is then written there at one index, if nobody else wrote meanwhile.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "edge/commands.h"

namespace tidelock {

struct EdgeCommands::Together {
  struct Key {
    Current read;                   // at the hub
    Current now;                    // as the commands so far left it
    std::optional<KeyWrite> write;  // what brings it from the one to the other
  };
  std::map<std::string, Key, std::less<>> keys;
  std::string answers;
  std::size_t answered = 0;

  ReadDone find(std::string_view key) const {
    const Current& now = keys.find(key)->second.now;
    ReadDone done;
    done.code = now.present ? Code::kOk : Code::kNotFound;
    if (now.present) done.value = now.value;
    done.ttl_left_ns = now.ttl_left_ns;
    done.receipt.version = now.version;
    return done;
  }

  // `default_ttl_ns`: of the key's namespace; 0: none.
  WriteDoneOp apply(KeyWrite write, Nanos default_ttl_ns) {
    Key& key = keys.find(write.key)->second;
    WriteDoneOp done;
    if ((write.condition == Condition::kAbsent && key.now.present) ||
        (write.condition == Condition::kPresent && !key.now.present)) {
      done.code = Code::kConflict;
      return done;
    }
    write.condition = Condition::kNone;
    done.changed = write.value.has_value() || key.now.present;
    if (write.keep_ttl && key.write) {  // the lifetime is that of a command before
      write.ttl_ns = key.write->ttl_ns;
      write.keep_ttl = key.write->keep_ttl;
    } else if (!write.keep_ttl) {
      key.now.ttl_left_ns = write.ttl_ns > 0 ? write.ttl_ns : default_ttl_ns > 0 ? default_ttl_ns : kForever;
    }
    key.now.present = write.value.has_value();
    key.now.value = write.value.value_or(Bytes());
    if (!key.now.present) key.now.ttl_left_ns = kForever;
    key.write = std::move(write);
    return done;
  }
};

}  // namespace tidelock
