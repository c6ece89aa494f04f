// The version of Posthouse: of the services, posthousectl and the metric posthouse_build_info. The file VERSION at the
// top of the repository is its only source; the chart has the same number (services/posthouse/version_test.py).
#pragma once

namespace posthouse {

inline constexpr char kVersion[] =
#include "services/common/version/version.inc"
    ;

}  // namespace posthouse
