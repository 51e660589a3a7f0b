module diff-go

go 1.24
