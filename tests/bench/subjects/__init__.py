"""Parts of this program in processes of their own, where no command does exactly what is to be measured."""
