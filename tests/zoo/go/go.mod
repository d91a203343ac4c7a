module gantry.example/zoo

go 1.19
