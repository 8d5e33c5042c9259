#include "edge/in_force_marks.h"

#include "store/models/files.h"
#include "telemetry/log.h"

namespace tidelock {

void InForceMarks::note(const std::string& model, const ModelPointer& pointer, Index activation) {
  constexpr std::size_t kMarkBytesMax = 4'096;
  const std::string path = room_ + "/" + model + "/" + std::string(kInForceMark);
  const auto [noted, first] = noted_.try_emplace(model);
  if (first) {  // of an earlier run
    const auto bytes = files::read_all(path, kMarkBytesMax);
    const auto mark =
        bytes ? decode<InForceMark>(*bytes, "mark of the version in force") : Result<InForceMark>(fail(bytes.error()));
    if (mark && mark->format == InForceMark{}.format) noted->second = mark->activation;
  }
  if (activation <= noted->second) return;
  InForceMark mark;
  mark.pointer = pointer;
  mark.activation = activation;
  if (const auto kept = files::replace(path, encode(mark)); !kept) {
    log(LogLevel::kWarn, "models", "the version in force was not noted",
        {{"model", model}, {"message", kept.error().message}});
    return;
  }
  noted->second = activation;
}

}  // namespace tidelock
