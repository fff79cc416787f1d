# Fuzz targets of goldlink-pxe's parsers. libFuzzer is clang's, so each target is compiled by clang++
# from the pure sources themselves: `ninja fuzz_pxe_dhcp fuzz_pxe_tftp`, then run it on a folder of its
# own with tests/fuzz/pxe_seeds/... as the first inputs. ctest gives each twenty seconds.
find_program(GOLDLINK_CLANG NAMES clang++)
if(NOT GOLDLINK_CLANG)
    message(STATUS "clang++ is not there: the fuzz targets are left out")
    return()
endif()

set(pxe_fuzz_sources
    pxe/ipv4.cpp pxe/packet.cpp pxe/firmware.cpp pxe/table.cpp pxe/decide.cpp pxe/leases.cpp
    pxe/tftp_packet.cpp pxe/tftp_transfer.cpp pxe/boot_files.cpp
    common/check.cpp common/result.cpp common/hex.cpp common/mac.cpp common/file.cpp)
list(TRANSFORM pxe_fuzz_sources PREPEND ${CMAKE_SOURCE_DIR}/)

foreach(parser dhcp tftp)
    set(name fuzz_pxe_${parser})
    set(program ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${name})
    set(main ${CMAKE_CURRENT_LIST_DIR}/pxe_${parser}_fuzz.cpp)
    add_custom_command(OUTPUT ${program}
        COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}
        COMMAND ${GOLDLINK_CLANG} -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined
            -fno-sanitize-recover=all -I${CMAKE_SOURCE_DIR} ${main} ${pxe_fuzz_sources}
            -lfmt -lcrypto -o ${program}
        DEPENDS ${main} ${pxe_fuzz_sources} VERBATIM)
    add_custom_target(${name} DEPENDS ${program})
    set(corpus ${CMAKE_CURRENT_BINARY_DIR}/corpus_pxe_${parser})
    file(MAKE_DIRECTORY ${corpus})
    add_test(NAME ${name}_build
        COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR} --target ${name})
    set_tests_properties(${name}_build PROPERTIES LABELS fuzz TIMEOUT 300 FIXTURES_SETUP ${name}
        RESOURCE_LOCK ninja)
    add_test(NAME ${name} COMMAND ${program} -max_total_time=20 -max_len=1500
        ${corpus} ${CMAKE_CURRENT_LIST_DIR}/pxe_seeds/${parser})
    set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 120 FIXTURES_REQUIRED ${name})
endforeach()
