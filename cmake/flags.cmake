# One interface target with what every part of the project is compiled with.
add_library(drover_flags INTERFACE)
target_compile_features(drover_flags INTERFACE cxx_std_20)
target_include_directories(drover_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
target_include_directories(drover_flags SYSTEM INTERFACE ${ASIO_INCLUDE_DIR})
# Asio 1.22 does not know that Clang with libstdc++ has coroutines: it is told. And it finds
# aligned_alloc or not depending on what a source includes before it: memory of one kind would be
# freed as the other.
target_compile_definitions(drover_flags INTERFACE ASIO_STANDALONE ASIO_NO_DEPRECATED
                           ASIO_HAS_CO_AWAIT ASIO_HAS_STD_COROUTINE ASIO_DISABLE_STD_ALIGNED_ALLOC)
target_compile_options(drover_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                       -Wnon-virtual-dtor)
# GCC 12 sees overlaps in plain concatenations of strings (GCC bug 105651).
target_compile_options(drover_flags INTERFACE
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# Sections of their own, so that a static program contains only what it calls.
target_compile_options(drover_flags INTERFACE -ffunction-sections -fdata-sections)
target_link_options(drover_flags INTERFACE -Wl,--gc-sections)
if(DROVER_STATIC)
  target_link_options(drover_flags INTERFACE -static)
endif()
