// `posthouse probe`: flags, one round or one each interval, HTTP.
#pragma once

namespace posthouse::probe {

// main(). Exit codes: 0 (a single round succeeded, or the probe was stopped), 1 (the round failed, or the probe could
// not start), 2 (wrong flags).
int Main(int argc, char** argv);

}  // namespace posthouse::probe
