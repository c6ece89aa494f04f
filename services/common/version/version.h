// The version of Posthouse: of the services, posthousectl and the metric posthouse_build_info.
#pragma once

namespace posthouse {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace posthouse
