#include "codec/typed_value.h"

namespace tidelock {
namespace {

bool marked(BytesView stored, char letter) {
  return stored.size() >= kTypedValueHeadBytes && stored.starts_with(kTypedValueMark) &&
         stored[kTypedValueMark.size()] == letter;
}

}  // namespace

ValueKind kind_of(BytesView stored) { return marked(stored, 'h') ? ValueKind::kHash : ValueKind::kString; }

BytesView string_of(BytesView stored) { return marked(stored, 's') ? stored.substr(kTypedValueHeadBytes) : stored; }

Bytes stored_string(BytesView text) {
  if (!text.starts_with(kTypedValueMark)) return Bytes(text);
  Bytes stored(kTypedValueMark);
  stored += 's';
  stored += text;
  return stored;
}

}  // namespace tidelock
