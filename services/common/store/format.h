// The format of a store: the number that says how its rows and bodies are written.
//
// A store keeps its number. A binary reads every format up to kNewestFormat, and refuses a store with a higher number.
// It writes what the number of the store allows, and no more: code that writes rows which the release before cannot
// read asks Store::Format() first. A number rises only when the operator says so (`store.format`), once no process of
// the release before is left. Until then that release can be put back.
//
// To change the format of rows in release N:
//   1. Raise kNewestFormat. Read old and new rows; write the new ones only if Format() is at least the new number.
//   2. Say in CHANGELOG.md what the number brings, and in UPGRADE.md that it can be raised.
//   3. In release N+1, which may follow N only, raise kInitialFormat: new stores begin with it.
// A field that the release before ignores without harm is no change of the format.
// Threads: constants.
#pragma once

namespace posthouse::store {

// Of a new store: the release before reads it.
inline constexpr int kInitialFormat = 1;
inline constexpr int kNewestFormat = 1;

// What a binary knows. Tests take the place of other releases.
struct FormatRange {
  int initial = kInitialFormat;
  int newest = kNewestFormat;
};

}  // namespace posthouse::store
