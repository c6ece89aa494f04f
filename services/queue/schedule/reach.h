// Reach: what an attempt says about its destination.
#pragma once

namespace posthouse::queue {

enum class Reach {
  kSuccess,      // it answered
  kNeutral,      // nothing is known
  kUnreachable,  // it could not be spoken to: leave it alone for a while
};

}  // namespace posthouse::queue
